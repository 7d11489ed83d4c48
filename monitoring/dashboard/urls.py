"""The monitor's pages: `path("monitoring/", include("monitoring.dashboard.urls"))`."""

from __future__ import annotations

from django.urls import path

from monitoring.dashboard import views

app_name = "monitoring"
urlpatterns = [
    path("", views.fleet, name="fleet"),
    path("services/<int:pk>/", views.service, name="service"),
]
