"""What a sink is: a place beside the database that polled data goes to, as lines that the outbox keeps until it took them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from monitoring.collector.intervals import InstanceInterval
from monitoring.wire import MetricsDocument


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


class Fault(enum.Enum):
    """What a sink's failure says of the lines that it was sent, and of the next attempt."""

    UNREACHABLE = "unreachable"
    """Down, overloaded or failing: the same lines may be taken later."""
    SLOW = "slow"
    """It did not answer in time. It may have taken the lines all the same; fewer at a time may go."""
    SETTING = "setting"
    """It takes nothing until somebody changes a setting, here or there."""
    POINTS = "points"
    """It finds fault with some of these lines; others may be taken."""
    SIZE = "size"
    """These are too many lines for one request."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why lines were not taken. A value and not an exception: a traceback would keep the connection alive."""

    fault: Fault
    reason: str
    """A sentence that says what is wrong and what to do next, and never holds a credential."""
    words: str = ""
    """The server's own, where it finds fault with points."""
    retry_after: float | None = None
    """Seconds that the server asks to wait."""


class Connection(Protocol):
    """A sink that is being written to."""

    def send(self, lines: Sequence[str]) -> Failure | None:
        """Send these lines in one request; None where all were taken. Raises nothing."""


class Sink(Protocol):
    """Somewhere lines are delivered to."""

    name: str
    address: str
    """Where it is and what of it is written to, without credentials: another address is another sink."""
    timeout: float
    """Seconds that one request takes at most."""

    def open(self) -> AbstractContextManager[Connection]:
        """The sink, ready to be written to; nothing is sent yet."""
