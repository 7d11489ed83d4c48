"""The history rolled up, and pruned: minutes into ten minutes, these into hours, these into days.

A service is rolled up one stretch of time at a time, each in a transaction that also moves the service's mark (RolledUp): a
collector that dies leaves nothing half done, and of two collectors one finds it done. Only what was rolled up is pruned.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence

from django.db import DatabaseError, router, transaction
from django.db.models import F, Q

from monitoring.collector import rows
from monitoring.collector.rows import AnyRow, AvailabilityRow, EndpointRow, IntervalRow
from monitoring.models import ROLLUPS, Availability, Exported, Resolution, RolledUp, Service

logger = logging.getLogger(__name__)

LAG = 60_000
"""Milliseconds that polls have to be stored before they are rolled up. A later one costs more rows, and no count."""

SPREAD = 10
"""Over so many minutes the services are spread, so that no round has to roll up all of them."""

BATCH = 1000
"""Rows that are pruned in one transaction: others wait for the database no longer than that takes."""

SECONDS = 20.0
"""How long a round rolls up and prunes at most; the next one goes on with what is left."""

_COLUMNS = tuple(resolution.column for resolution in ROLLUPS)


def mark(service_id: int, first: int) -> RolledUp:
    """How far the service is rolled up; from the stretches on in which `first` lies, where this is its first row."""
    for known in rows.select(RolledUp, _COLUMNS, service_id):
        return RolledUp(service_id=service_id, **dict(zip(_COLUMNS, known, strict=True)))
    before = {resolution.column: (first - 1) // resolution.length * resolution.length for resolution in ROLLUPS}
    created: RolledUp = RolledUp.objects.create(service_id=service_id, **before)
    return created


def late(rolled_up: RolledUp, polled: Sequence[AnyRow]) -> list[AnyRow]:
    """The same rows once more for each resolution whose rollup of their time is made already."""
    copies = []
    for resolution in ROLLUPS:
        until = rolled_up.until(resolution)
        copies += [row._replace(resolution=resolution.value) for row in polled if row.end <= until]
    return copies


def keep_up(now: int, retention: Mapping[Resolution, int], *, seconds: float = SECONDS) -> dict[str, str]:
    """Roll up and prune what is due at `now`, both in milliseconds, as far as it can be done in this time.

    Gives the services where that failed, with the reason; they come again in the next round.
    """
    ends = time.monotonic() + seconds
    failed: dict[str, str] = {}
    latest = now - LAG - Resolution.TEN_MINUTES.length
    for rolled_up in RolledUp.objects.filter(ten_minutes__lte=latest).select_related("service").order_by("ten_minutes"):
        complete = now - LAG - rolled_up.pk % SPREAD * 60_000
        if rolled_up.ten_minutes + Resolution.TEN_MINUTES.length > complete:
            continue  # another round's turn
        try:
            for _ in _steps(rolled_up, complete, now, retention):
                if time.monotonic() > ends:
                    return failed
        except (DatabaseError, ValueError, OverflowError) as error:
            logger.exception("The history of %s could not be rolled up", rolled_up.service)
            failed[rolled_up.service.name] = f"{type(error).__name__}: {error}"
    return failed


def _steps(rolled_up: RolledUp, complete: int, now: int, retention: Mapping[Resolution, int]) -> Iterator[None]:
    """Everything there is to do for a service, in steps that are a transaction each."""
    for resolution in ROLLUPS:
        target = complete // resolution.length * resolution.length
        until = rolled_up.until(resolution)
        if until >= target:
            return
        while until < target:
            until = _roll_up(rolled_up.pk, resolution, target)
            yield
        yield from _prune(rolled_up.pk, resolution.finer, min(until, now - retention[resolution.finer]), now)
        complete = until
    yield from _prune(rolled_up.pk, Resolution.DAY, now - retention[Resolution.DAY], now)


def _roll_up(service_id: int, resolution: Resolution, target: int) -> int:
    """Make the next rollup that has anything in it, not beyond `target`; up to when it is rolled up now."""
    with transaction.atomic(using=router.db_for_write(Service)):
        # As when a poll is stored: this locks the service, and takes SQLite's lock for writing before anything is read.
        if not Service.objects.filter(pk=service_id).update(name=F("name")):
            return target
        start = int(RolledUp.objects.values_list(resolution.column, flat=True).get(pk=service_id))
        if start >= target:
            return start  # another collector was here
        finer = Q(service=service_id, resolution=resolution.finer)
        # Nothing is in the history without a poll.
        polls = Availability.objects.filter(finer, end__gt=start, end__lte=target).order_by("end")
        end = target
        for first in polls.values_list("end", flat=True)[:1]:
            start = (first - 1) // resolution.length * resolution.length
            end = start + resolution.length
            _add_up(finer & Q(end__gt=start, end__lte=end), resolution)
        RolledUp.objects.filter(pk=service_id).update(**{resolution.column: end})
        return end


def _add_up(finer: Q, resolution: Resolution) -> None:
    intervals = rows.add_up_intervals(rows.read(IntervalRow, finer), resolution)
    rows.insert(intervals)
    ends = {row.instance_id: row.end for row in intervals}
    rows.insert(rows.add_up_endpoints(rows.read(EndpointRow, finer), resolution, ends))
    rows.insert(rows.add_up_availability(rows.read(AvailabilityRow, finer), resolution))


def _prune(service_id: int, resolution: Resolution, until: int, now: int) -> Iterator[None]:
    """Delete the rows that end no later than this, a batch at a time; not those that an interrupted export needs once more."""
    begun = Exported.objects.filter(service=service_id, begun_resolution=resolution, begun_at__gt=now - Exported.HELD)
    until = min([until, *begun.values_list("until", flat=True)])
    for model in rows.HISTORY.values():
        rows_of_it = model._default_manager.filter(service=service_id, resolution=resolution, end__lte=until)
        while keys := list(rows_of_it.order_by("end").values_list("pk", flat=True)[:BATCH]):
            model._default_manager.filter(pk__in=keys).delete()
            yield
            if len(keys) < BATCH:
                break
