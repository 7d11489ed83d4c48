"""From the outbox to the sink: in order, at least once, by one collector at a time, and again later where it fails.

Timestamps are fixed when a point is made, so a repeat overwrites what it repeats: that of a collector that was killed between a
delivery and its acknowledgement, and that of lines which a server took after it was given up.
"""

from __future__ import annotations

import enum
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from monitoring.collector import delivery, lease, outbox
from monitoring.collector.delivery import BATCH_SIZE
from monitoring.collector.lease import Lease
from monitoring.collector.outbox import Bounds
from monitoring.collector.sinks.base import Connection, Failure, Fault, Sink
from monitoring.models import OutboxState, waiting

logger = logging.getLogger(__name__)

QUICK = 0.5
"""Seconds: a server that takes no longer for a request may get a larger one."""

SECONDS = 20.0
"""How long a round delivers at most; the next one goes on with what waits."""

SEARCH_SECONDS = 5.0
SEARCHED = 5
"""For how many seconds refused lines are looked for one by one, and how many are found however long it takes. Later in a round,
what others are sent with is set aside whole: or a server that refuses nearly all, and is not quick about it, keeps the rest
waiting until the outbox is full."""

FIRST_DELAY = 15.0
LONGEST_DELAY = 300.0
"""Seconds to the attempt after the first failure, doubled with each further one, and at most; less up to a half, by chance."""

LONGEST_WAIT = 3600.0
"""Seconds: no sink is left alone for longer, whatever it asks for."""


class Patience(enum.Enum):
    """Who asks for a delivery, and so how long a failure before is respected."""

    SCHEDULE = enum.auto()
    """A tick: it comes again by itself, so it waits as long as the back-off says."""
    COMMAND = enum.auto()
    """Somebody who ran a command: waits only where the server asked for it."""
    NOW = enum.auto()
    """Somebody who asked for a delivery: waits for nothing."""


@dataclass(slots=True)
class Report:
    """How a delivery went."""

    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    waiting: int = 0
    """Points, when it ended."""
    since: datetime | None = None
    """When the oldest of these was polled."""
    error: str = ""
    """Why it failed, or why the attempt before failed, where it is not time for another one yet."""
    retry_at: datetime | None = None
    """When the next attempt is made; None where that is the next round."""
    busy: bool = False
    """Another collector delivers."""


def deliver(sink: Sink, bounds: Bounds, *, seconds: float = SECONDS, patience: Patience = Patience.SCHEDULE) -> Report:
    """Deliver what waits, as far as that can be done in this time. Raises DatabaseError; what the sink does is in the report."""
    report = Report(dropped=outbox.drop(bounds))
    state = lease.state()
    now = timezone.now()
    if not waiting().points:
        return report
    if state.address == sink.address and not _is_time(state, now, patience):
        report.error, report.retry_at = state.error, state.retry_at
    else:
        with lease.taken(sink.timeout) as mine:
            if mine is None:
                report.busy = True
            else:
                _deliver(sink, mine, report, seconds)
    left = waiting()
    report.waiting, report.since = left.points, left.since
    return report


def _is_time(state: OutboxState, now: datetime, patience: Patience) -> bool:
    if state.retry_at is None or state.retry_at <= now or patience is Patience.NOW:
        return True
    if state.retry_at > now + timedelta(seconds=LONGEST_WAIT if state.asked_to_wait else LONGEST_DELAY):
        return True  # longer than was agreed: the clock was set back
    return patience is Patience.COMMAND and not state.asked_to_wait


def _deliver(sink: Sink, mine: Lease, report: Report, seconds: float) -> None:
    started = time.monotonic()
    ends, search_ends = started + seconds, started + SEARCH_SECONDS
    state = lease.state()
    if state.address != sink.address:
        # What waits goes there too, so that what is older than that was never sent there.
        fresh = {"failures": 0, "failing_since": None, "error": "", "retry_at": None, "asked_to_wait": False}
        mine.update(sink=sink.name, address=sink.address, since=waiting().since or timezone.now(), **fresh)
        state.batch_size = 0
    size, requests_left = state.batch_size or BATCH_SIZE, delivery.MAX_REQUESTS

    def go_on(settled: bool) -> bool:
        return mine.renew() and (time.monotonic() < ends or not settled)

    def search(found: int) -> bool:
        return report.rejected + found < SEARCHED or time.monotonic() < search_ends

    with sink.open() as connection:
        careful = _Careful(connection, sink.name)
        while True:
            batch = outbox.next_batch(size)
            if not batch.keys:
                return
            begun = time.monotonic()
            done = delivery.deliver(careful, batch.lines, size, requests_left, go_on, search)
            requests_left = max(1, requests_left - done.requests + 1)
            size = delivery.next_size(size, done, (time.monotonic() - begun) / max(1, done.requests) < QUICK)
            if not outbox.acknowledge(mine, batch, done, 0 if size >= BATCH_SIZE else size):
                report.busy = True  # this took so long that another collector went on
                return
            report.delivered += done.written
            report.rejected += sum(len(one.lines) for one in done.refused)
            if done.failure:
                report.error, report.retry_at = done.failure.reason, _retry_later(mine, done.failure)
                return
            if time.monotonic() >= ends:
                return


class _Careful:
    """A connection of which nothing is raised."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self._name = connection, name

    def send(self, lines: Sequence[str]) -> Failure | None:
        try:
            return self._connection.send(lines)
        except Exception as error:
            logger.exception("Writing to %s failed unexpectedly", self._name)
            said = f"Writing to {self._name} failed unexpectedly ({type(error).__name__}: {error}); the log tells more."
            return Failure(Fault.UNREACHABLE, said)


def _retry_later(mine: Lease, failure: Failure) -> datetime:
    """Note a failed attempt; when the next one is made."""
    state, now = lease.state(), timezone.now()
    delay = min(FIRST_DELAY * 2 ** min(state.failures, 10), LONGEST_DELAY) * random.uniform(0.5, 1)  # noqa: S311 (no secret)
    at = now + timedelta(seconds=delay if failure.retry_after is None else min(failure.retry_after, LONGEST_WAIT))
    mine.update(
        failures=state.failures + 1,
        failing_since=state.failing_since or now,
        error=failure.reason,
        retry_at=at,
        asked_to_wait=failure.retry_after is not None,
    )
    return at
