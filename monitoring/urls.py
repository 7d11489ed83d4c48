"""What a watched service exposes: `path("", include("monitoring.urls"))`."""

from __future__ import annotations

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
