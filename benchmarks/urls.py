from django.http import HttpResponse
from django.urls import path


def nothing(request):
    return HttpResponse(b"ok")


async def async_nothing(request):
    return HttpResponse(b"ok")


urlpatterns = [
    path("items/<int:pk>/", lambda request, pk: nothing(request)),
    path("sync/", nothing),
    path("async/", async_nothing),
]
