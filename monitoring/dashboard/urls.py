"""The monitor's pages: `path("monitoring/", include("monitoring.dashboard.urls"))`."""

from __future__ import annotations

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.urls import path

if not apps.is_installed("monitoring"):  # the import below would end in an error that does not say so
    raise ImproperlyConfigured('The pages need the app: add "monitoring" to INSTALLED_APPS, and run manage.py migrate.')

from monitoring.dashboard import views

app_name = "monitoring"
urlpatterns = [
    path("", views.fleet, name="fleet"),
    path("services/<int:pk>/", views.service, name="service"),
    path("traces/", views.traces, name="traces"),
]
