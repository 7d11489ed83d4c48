"""A watched service for real servers: `tests.live.shop:application` (WSGI) and `tests.live.shop:asgi`.

It takes STATE_DIR from its environment, and needs no database and no app.
"""

import os
import time

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path

if not settings.configured:
    settings.configure(
        SECRET_KEY="shop",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="tests.live.shop",
        MIDDLEWARE=["monitoring.middleware.MetricsMiddleware", "monitoring.middleware.TracingMiddleware"],
        LOGGING_CONFIG=None,
        MONITORING={"SERVICE_NAME": "shop", "STATE_DIR": os.environ["STATE_DIR"], "METRICS_PUBLIC": True},
    )
    django.setup()


def item(request, pk):
    return HttpResponse(f"{os.getpid()}")


def slow(request):
    time.sleep(float(request.GET["seconds"]))
    return HttpResponse("slept")


def failing(request):
    raise ValueError("a bug")


async def stream(request):
    async def chunks():
        for _ in range(1000):
            yield b"x" * 1000

    return StreamingHttpResponse(chunks())


urlpatterns = [
    path("items/<int:pk>/", item),
    path("slow/", slow),
    path("failing/", failing),
    path("stream/", stream),
    path("", include("monitoring.urls")),
]
application = WSGIHandler()
asgi = ASGIHandler()
