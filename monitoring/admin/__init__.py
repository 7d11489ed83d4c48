"""The monitor in Django's admin: services are registered, paused and polled here; collectors and the outbox are looked at."""

from monitoring.admin.collectors import CollectorAdmin
from monitoring.admin.outbox import OutboxAdmin
from monitoring.admin.rejected import RejectedPointsAdmin
from monitoring.admin.services import ServiceAdmin

__all__ = ["CollectorAdmin", "OutboxAdmin", "RejectedPointsAdmin", "ServiceAdmin"]
