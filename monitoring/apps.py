from __future__ import annotations

from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    """The monitor: registry, collector and pages. A service that is only watched installs `monitoring.instrument` instead."""

    name = "monitoring"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Monitoring"

    def ready(self) -> None:
        from monitoring import checks  # noqa: F401 (registers the system checks)
