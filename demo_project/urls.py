from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="monitoring:fleet")),
    path("admin/", admin.site.urls),
    path("monitoring/", include("monitoring.dashboard.urls")),
    path("", include("monitoring.urls")),
]
