"""What a sink is: a place that polled data goes to. The database and InfluxDB are two; a third needs these few lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from monitoring.collector.intervals import InstanceInterval
from monitoring.wire import MetricsDocument


class SinkError(Exception):
    """The sink did not take the data; the message says why and what to do next, and never holds a credential."""


@dataclass(frozen=True, slots=True)
class PolledInstance:
    """The outcome of one poll of one instance, as every sink gets it."""

    service: str
    instance: str
    """host:port of the address that was polled."""
    polled_at: datetime
    poll_duration: float
    """Seconds from the request to the end of the document."""
    error: str
    """Empty where the poll succeeded."""
    document: MetricsDocument | None
    interval: InstanceInterval | None
    """None where the poll failed, or was the first and so the baseline only."""


class Sink(Protocol):
    """Somewhere the outcome of a round is written to."""

    name: str

    def write(self, polled: Sequence[PolledInstance]) -> None:
        """Write a round's outcomes. Raises SinkError; nothing else."""
