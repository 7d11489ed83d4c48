"""The registry of services (registry.py), and their history (history.py). No HTTP in here."""

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
from monitoring.models.registry import (
    DEFAULT_TIMEOUT,
    Baseline,
    DurationUnit,
    Instance,
    Service,
    State,
    validate_metrics_url,
    validate_schedule,
    validate_token,
)

__all__ = [
    "DEFAULT_TIMEOUT",
    "ROLLUPS",
    "Availability",
    "Baseline",
    "DurationUnit",
    "Endpoint",
    "EndpointInterval",
    "Instance",
    "Interval",
    "Resolution",
    "RolledUp",
    "Service",
    "State",
    "milliseconds",
    "moment",
    "validate_metrics_url",
    "validate_schedule",
    "validate_token",
]
