"""The monitor's pages: `path("monitoring/", include("monitoring.dashboard.urls"))`."""

from __future__ import annotations

from django.urls import URLPattern

app_name = "monitoring"
urlpatterns: list[URLPattern] = []
