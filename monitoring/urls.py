"""What a watched service exposes: `path("", include("monitoring.urls"))` serves its metrics document at /metrics."""

from __future__ import annotations

from django.urls import path

from monitoring import views

urlpatterns = [path("metrics", views.metrics, name="monitoring-metrics")]
