"""What one poll of one instance gave."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from monitoring import wire
from monitoring.models import Instance


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one poll of one instance gave: a document, or an error."""

    instance: Instance
    polled_at: datetime
    """When the request was sent. Not when the answer came: of two polls that overlap, the one asked later knows more."""
    poll_duration: float
    """Seconds from the request to the end of the document, or to the failure."""
    document: wire.MetricsDocument | None = None
    error: str = ""
    warning: str = ""
    """What is odd about a document that was read all the same."""
