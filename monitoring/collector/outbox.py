"""The outbox: points wait in the database until InfluxDB has taken them, put there by the transaction that stored their poll.

They leave in the order in which they came. How they are delivered is forwarding.py's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from django.db import router, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from monitoring.collector import lease, points, rows
from monitoring.collector.delivery import Delivered
from monitoring.collector.lease import Lease
from monitoring.collector.rows import WaitingRow
from monitoring.collector.sinks.base import PolledInstance
from monitoring.conf import Outbox
from monitoring.models import OutboxState, RejectedPoints, WaitingPoints, milliseconds, pack_lines, unpack_lines, waiting

logger = logging.getLogger(__name__)

MAX_REJECTED_POINTS = 100_000
"""Points that are kept after they were refused; older ones are forgotten."""

_LINES_A_ROW = 1000
_ROWS_A_TRANSACTION = 1000


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait."""

    size: int
    """Bytes, compressed as they are kept."""
    age: timedelta

    @classmethod
    def of(cls, setting: Outbox) -> Bounds:
        return cls(setting.megabytes * 1_000_000, timedelta(days=setting.days))


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are delivered together."""

    keys: list[int]
    lines: list[str]
    unreadable: int
    """Points of theirs that are lost."""


def put(polled: Sequence[PolledInstance]) -> None:
    """Put the points of polls into the outbox, in the transaction that stores these. Raises DatabaseError."""
    lines: list[str] = []
    for one in polled:
        try:
            lines += points.lines(one)
        except Exception:  # an error of ours costs these points, not the history
            logger.exception("The points of %s at %s could not be made", one.service, one.instance)
    found = []
    for first in range(0, len(lines), _LINES_A_ROW):
        part = lines[first : first + _LINES_A_ROW]
        packed = pack_lines(part)
        found.append(WaitingRow(milliseconds(min(one.polled_at for one in polled)), len(part), len(packed), packed))
    rows.insert(found)


def drop(bounds: Bounds) -> int:
    """Give up what is too old or too much, the oldest first; how many points that was. Raises DatabaseError."""
    found, dropped = waiting(), 0
    oldest = milliseconds(timezone.now() - bounds.age)
    if found.since is not None and milliseconds(found.since) < oldest:
        dropped += _drop(WaitingPoints.objects.filter(created_at__lt=oldest))
        found = waiting()
    if found.size > bounds.size:
        dropped += _drop(WaitingPoints.objects.order_by("pk"), found.size - bounds.size)
    return dropped


def put_back(rejected: RejectedPoints) -> None:
    """Let refused points be tried once more: they wait again, behind all others. Raises DatabaseError."""
    with transaction.atomic(using=router.db_for_write(RejectedPoints)):
        if RejectedPoints.objects.filter(pk=rejected.pk).delete()[0]:
            packed = bytes(rejected.lines)
            now = milliseconds(timezone.now())
            rows.insert([WaitingRow(now, rejected.points, len(packed), packed)])


def next_batch(size: int) -> Batch:
    """The rows that wait longest: of no more lines than this, unless the first row has more. It is empty where none waits."""
    batch, unreadable = Batch([], [], 0), 0
    found = WaitingPoints.objects.order_by("pk").values_list("pk", "points", "lines")
    for pk, number, packed in found.iterator(chunk_size=50):
        if batch.keys and len(batch.lines) + number > size:
            break
        batch.keys.append(pk)
        try:
            batch.lines.extend(unpack_lines(bytes(packed)))
        except ValueError:
            logger.exception("Points in the outbox cannot be read, and are dropped")
            unreadable += number
    return replace(batch, unreadable=unreadable)


def acknowledge(mine: Lease, batch: Batch, done: Delivered, batch_size: int) -> bool:
    """Take what was settled of the batch out of the outbox, and note it in the state with the size of the next batch.

    False where another collector has the lease by now, and nothing is changed then. Raises DatabaseError.
    """
    refused = sum(len(one.lines) for one in done.refused)
    values: dict[str, object] = {"batch_size": batch_size}
    if done.written or refused:
        values |= {"delivered": F("delivered") + done.written, "rejected": F("rejected") + refused}
        values |= {"failures": 0, "failing_since": None, "error": "", "retry_at": None, "asked_to_wait": False}
    if done.written:
        values["delivered_at"] = timezone.now()
    settled = done.written or refused or not done.rest
    if settled and batch.unreadable:
        values |= {"dropped": F("dropped") + batch.unreadable, "dropped_at": timezone.now()}
    with transaction.atomic(using=router.db_for_write(WaitingPoints)):
        if not mine.update(**values):
            return False
        if not settled:
            return True
        keys = list(batch.keys)
        if done.rest:
            first, packed = keys.pop(0), pack_lines(done.rest)
            WaitingPoints.objects.filter(pk=first).update(lines=packed, size=len(packed), points=len(done.rest))
        WaitingPoints.objects.filter(pk__in=keys).delete()
        if refused:
            _set_aside(done)
    return True


def _set_aside(done: Delivered) -> None:
    now = timezone.now()
    by_words: dict[str, list[str]] = {}
    for one in done.refused:
        by_words.setdefault(one.words, []).extend(one.lines)
    RejectedPoints.objects.bulk_create(
        RejectedPoints(rejected_at=now, words=words, points=len(lines), lines=pack_lines(lines))
        for words, lines in by_words.items()
    )
    kept = 0
    for pk, number in RejectedPoints.objects.order_by("-pk").values_list("pk", "points"):
        kept += number
        if kept > MAX_REJECTED_POINTS:
            RejectedPoints.objects.filter(pk__lte=pk).delete()
            break


def _drop(found: QuerySet[WaitingPoints], excess: int | None = None) -> int:
    """Delete rows, all of these or the first until so many bytes are gone; how many points that was."""
    dropped = 0
    while excess is None or excess > 0:
        keys: list[int] = []
        number = 0
        for pk, points_in_it, size in found.values_list("pk", "points", "size")[:_ROWS_A_TRANSACTION]:
            keys.append(pk)
            number += points_in_it
            if excess is not None:
                excess -= size
                if excess <= 0:
                    break
        if not keys:
            break
        lease.state()
        with transaction.atomic(using=router.db_for_write(WaitingPoints)):
            OutboxState.objects.filter(pk=OutboxState.ONLY).update(dropped=F("dropped") + number, dropped_at=timezone.now())
            WaitingPoints.objects.filter(pk__in=keys).delete()
        dropped += number
    return dropped
