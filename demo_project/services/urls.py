from __future__ import annotations

from django.urls import include, path

from demo_project.services import views

urlpatterns = [
    path("ping", views.ping),
    path("process", views.process),
    path("", include("monitoring.urls")),
]
