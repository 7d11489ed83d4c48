"""A Django project with nothing but the middleware, the URLs and MONITORING: no app, no database, no package of the monitor's.

Run by .ci/run with the wheel installed and nothing else.
"""

import importlib.util
import json
import sys
import tempfile

import django
from django.conf import settings
from django.http import HttpResponse
from django.test import Client
from django.urls import include, path

for package in ("cronsim", "django_crontab", "influxdb_client", "yaml"):
    if importlib.util.find_spec(package):
        raise SystemExit(f"{package} is installed, so this proves nothing.")

with tempfile.TemporaryDirectory() as state:
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["testserver"],
        MIDDLEWARE=["monitoring.middleware.MetricsMiddleware", "monitoring.middleware.TracingMiddleware"],
        MONITORING={"SERVICE_NAME": "watched", "METRICS_PUBLIC": True, "STATE_DIR": state},
    )
    django.setup()
    urlpatterns = [
        path("hello/<name>", lambda request, name: HttpResponse(f"Hello, {name}")),
        path("", include("monitoring.urls")),
    ]

    client = Client()
    traced = client.get("/hello/you")
    if "X-Trace-ID" not in traced.headers:
        raise SystemExit(f"No trace came back: {traced.headers}")
    document = json.loads(client.get("/metrics").content)
    if document["service_name"] != "watched" or document["metrics"]["GET/hello/<name>"]["count"] != 1:
        raise SystemExit(f"The request was not counted: {document}")

monitors_side = ("monitoring.collector", "monitoring.dashboard", "monitoring.models")
loaded = sorted(name for name in sys.modules if name.startswith(monitors_side))
if loaded:
    raise SystemExit(f"A watched service loaded the monitor's side: {loaded}")
sys.stdout.write("The request was traced and counted, and nothing of the monitor's side was loaded.\n")
