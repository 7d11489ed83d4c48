"""Intervals of some services in a window, read from the history.

The database adds up what SQL can add; histograms and status codes are bytes and are added here, of the newest MAX_PACKED rows, so
that no page is without bound.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Max, Min, OuterRef, Q, QuerySet, Subquery, Sum

from monitoring import packing
from monitoring.dashboard import figures as numbers
from monitoring.dashboard.figures import Piece
from monitoring.dashboard.windows import Part, Window
from monitoring.models import ROLLUPS, Instance, Interval, Resolution, RolledUp, Service, milliseconds, moment

_MILLISECOND = timedelta(milliseconds=1)

MAX_PACKED = 100_000
"""How many rows' histograms, or status codes, a page adds up: a quarter of a second's worth."""


@dataclass(slots=True)
class Packed:
    """How many packed rows of a window were read; of more than MAX_PACKED the newest."""

    left: int
    since: datetime | None = None
    """The end of the oldest one that was read, where not all were."""

    def read(self, rows: QuerySet[Any, Any], number: int) -> Iterator[Any]:
        """Of a query whose second column is `end`, and which has so many rows, those that may still be read."""
        if number <= self.left:
            self.left -= number
            yield from rows.iterator(chunk_size=2000)
            return
        for row in rows.order_by("-end")[: self.left].iterator(chunk_size=2000):
            self.since = moment(row[1])
            yield row
        self.left = 0


@dataclass(frozen=True, slots=True)
class Read:
    """What the history holds on some services, by service."""

    parts: Sequence[Part]
    edges: Sequence[datetime]
    pieces: dict[int, list[Piece]] = field(default_factory=dict)
    buckets: dict[int, dict[int, int]] = field(default_factory=dict)
    outdated: dict[int, datetime] = field(default_factory=dict)
    """Services whose pieces are from before the window: the latest interval's end."""
    latest: dict[int, Q] = field(default_factory=dict)
    """Which rows these pieces are."""
    packed: Packed = field(default_factory=lambda: Packed(MAX_PACKED))


def read_intervals(services: Sequence[Service], window: Window, now: datetime) -> Read:
    """The services' intervals in the window, or, where a service has none there, the latest one of each instance."""
    edges = window.edges(now)
    pks = [service.pk for service in services]
    instances = {instance.pk for service in services for instance in service.instances.all()}
    read = Read(window.parts(now, _rolled_up(pks)), edges)
    pieces: dict[int, list[Piece]] = defaultdict(list)
    histograms: dict[int, packing.BucketSum] = defaultdict(packing.BucketSum)
    first, step, last = milliseconds(edges[0]), window.step // _MILLISECOND, len(edges) - 2
    for part in read.parts:
        rows = Interval.objects.filter(rows_of(part), service__in=pks)
        number = 0
        offset = F("end") - first - 1
        groups = rows.annotate(at=offset - offset % step).values("service_id", "instance_id", "at")
        sums = summed(groups).annotate(first_start=Min(F("end") - F("covered")), time=Sum("covered"))
        for row in sums.iterator(chunk_size=2000):
            pieces[row["service_id"]].append(piece_of(row, instances, min(row["at"] // step, last)))
            number += row["rows"]
        packed = rows.filter(buckets__isnull=False).order_by().values_list("service_id", "end", "buckets")
        for service_id, _, buckets in read.packed.read(packed, number):
            histograms[service_id].add(buckets)
    for row in _latest([pk for pk in pks if pk not in pieces]):
        pk, end = row["service_id"], moment(row["last_end"])
        pieces[pk].append(piece_of(row, instances, 0))
        read.outdated[pk] = max(end, read.outdated.get(pk, end))
        which = Q(resolution=row["resolution"], instance_id=row["instance_id"], end=row["last_end"])
        read.latest[pk] = read.latest[pk] | which if pk in read.latest else which
        if row["buckets"] is not None:
            histograms[pk].add(row["buckets"])
    read.pieces.update({pk: numbers.merged(parts) for pk, parts in pieces.items()})
    read.buckets.update({pk: total.buckets() for pk, total in histograms.items()})
    return read


def _rolled_up(pks: Sequence[int]) -> dict[Resolution, int]:
    """Up to when the rollups of all these services are there."""
    until = RolledUp.objects.filter(service__in=pks).aggregate(**{one.name: Min(one.column) for one in ROLLUPS})
    return {resolution: until[resolution.name] or 0 for resolution in ROLLUPS}


def rows_of(part: Part) -> Q:
    condition = Q(resolution=part.resolution, end__gt=part.after)
    return condition if part.until is None else condition & Q(end__lte=part.until)


def summed(groups: QuerySet[Any, Any]) -> QuerySet[Any, dict[str, Any]]:
    """Sums over each group of rows, under names that are none of the model's."""
    summed: QuerySet[Any, dict[str, Any]] = groups.order_by().annotate(
        last_end=Max("end"),
        requests=Sum("count"),
        failed=Sum("errors"),
        seconds=Sum("duration_sum"),
        longest=Max("duration_max"),
        rows=Count("pk"),
    )
    return summed


def _latest(pks: Iterable[int]) -> Iterator[dict[str, Any]]:
    """The latest row of each instance of these services, at the finest resolution at which the service has any."""
    missing = set(pks)
    for resolution in Resolution:
        if not missing:
            return
        same = Interval.objects.filter(service=OuterRef("service"), resolution=resolution, instance_id=OuterRef("pk"))
        newest = Instance.objects.filter(service__in=missing).annotate(newest=Subquery(same.order_by("-end").values("pk")[:1]))
        latest = Interval.objects.filter(pk__in=newest.order_by().values("newest")).values(
            "service_id",
            "instance_id",
            "resolution",
            "buckets",
            first_start=F("end") - F("covered"),
            last_end=F("end"),
            time=F("covered"),
            requests=F("count"),
            failed=F("errors"),
            seconds=F("duration_sum"),
            longest=F("duration_max"),
        )
        for row in list(latest):
            missing.discard(row["service_id"])
            yield row


def piece_of(row: Mapping[str, Any], instances: Container[int], step: int = 0) -> Piece:
    end = moment(row["last_end"])
    return Piece(
        row["instance_id"] if row["instance_id"] in instances else None,
        step,
        moment(row["first_start"]) if "first_start" in row else end,
        end,
        row.get("time", 0) / 1000,
        row["requests"],
        row["failed"],
        row["seconds"],
        row["longest"],
    )
