"""The registry of services (registry.py), their history (history.py), the outbox (outbox.py), the monitor's own
life (operation.py). No HTTP in here."""

from monitoring.models.backfill import Exported
from monitoring.models.history import (
    ROLLUPS,
    Availability,
    Endpoint,
    EndpointInterval,
    Interval,
    Resolution,
    RolledUp,
    milliseconds,
    moment,
)
from monitoring.models.operation import Collector, Restart
from monitoring.models.outbox import OutboxState, RejectedPoints, Waiting, WaitingPoints, pack_lines, unpack_lines, waiting
from monitoring.models.registry import (
    DEFAULT_TIMEOUT,
    DOWN_AFTER,
    Baseline,
    DurationUnit,
    Instance,
    Service,
    State,
    Status,
)
from monitoring.models.validation import validate_metrics_url, validate_schedule, validate_time_zone, validate_token

__all__ = [
    "DEFAULT_TIMEOUT",
    "DOWN_AFTER",
    "ROLLUPS",
    "Availability",
    "Baseline",
    "Collector",
    "DurationUnit",
    "Endpoint",
    "EndpointInterval",
    "Exported",
    "Instance",
    "Interval",
    "OutboxState",
    "RejectedPoints",
    "Resolution",
    "Restart",
    "RolledUp",
    "Service",
    "State",
    "Status",
    "Waiting",
    "WaitingPoints",
    "milliseconds",
    "moment",
    "pack_lines",
    "unpack_lines",
    "validate_metrics_url",
    "validate_schedule",
    "validate_time_zone",
    "validate_token",
    "waiting",
]
