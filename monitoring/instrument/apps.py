from __future__ import annotations

from django.apps import AppConfig


class InstrumentConfig(AppConfig):
    """For a service that is only watched: the system checks, and no tables."""

    name = "monitoring.instrument"
    label = "monitoring_instrument"
    verbose_name = "Monitoring (instrument)"

    def ready(self) -> None:
        from monitoring import checks  # noqa: F401 (registers the system checks)
