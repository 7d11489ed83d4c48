"""The monitor in Django's admin: services are registered, paused and polled here; collectors are looked at."""

from monitoring.admin.collectors import CollectorAdmin
from monitoring.admin.services import ServiceAdmin

__all__ = ["CollectorAdmin", "ServiceAdmin"]
