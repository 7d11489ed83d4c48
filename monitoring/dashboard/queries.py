"""What the pages show, read from the registry and the history: the dashboard's only reader of models. No HTTP in here.

The number of queries does not depend on the number of services. The database adds up what SQL can add; histograms and status
codes are bytes and are added here, of the newest MAX_PACKED rows of the window, so that no page is without bound. An interval
belongs to the window in which it ends, whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Max, Min, OuterRef, Q, QuerySet, Subquery, Sum

from monitoring import histogram, packing
from monitoring.dashboard import figures as numbers
from monitoring.dashboard.conditions import Condition, is_overdue, judge
from monitoring.dashboard.figures import Piece
from monitoring.dashboard.rows import EndpointRow, Fleet, InstanceRow, ServicePage, ServiceRow
from monitoring.dashboard.windows import Part, Window
from monitoring.models import (
    ROLLUPS,
    Availability,
    EndpointInterval,
    Instance,
    Interval,
    Resolution,
    RolledUp,
    Service,
    milliseconds,
    moment,
)

_MILLISECOND = timedelta(milliseconds=1)

MAX_PACKED = 100_000
"""How many rows' histograms, or status codes, a page adds up: a quarter of a second's worth."""


def fleet(window: Window, now: datetime) -> Fleet:
    """Every service."""
    services = list(Service.objects.prefetch_related("instances"))
    read = _read(services, window, now)
    rows = tuple(_service_row(service, read, now) for service in services)
    # What a service did before it fell silent is no part of what the fleet does now.
    current = [row for row in rows if row.as_of is None or row.condition in (Condition.UP, Condition.WARNING, Condition.FAILING)]
    merged = histogram.merge(read.buckets.get(row.pk, {}) for row in current)
    polls = [row.last_polled_at for row in rows if row.last_polled_at]
    expected = [service for service in services if service.enabled]
    silent = bool(expected) and all(is_overdue(service, now) for service in expected)
    return Fleet(
        services=rows,
        figures=numbers.add_up([row.figures for row in current], merged),
        series=numbers.fleet_series(row.series for row in rows),
        silent_since=max(polls) if polls and silent else None,
        documents_since=read.packed.since,
    )


def service(pk: int, window: Window, now: datetime) -> ServicePage | None:
    """One service; None where there is no such service."""
    found = Service.objects.prefetch_related("instances").filter(pk=pk).first()
    if found is None:
        return None
    read = _read([found], window, now)
    head = _service_row(found, read, now)
    shown = [_of(part) for part in read.parts] if head.as_of is None else [read.latest[pk]]
    packed = _Packed(MAX_PACKED)
    endpoints, idle = _endpoints(found, shown, numbers.covered_seconds(read.pieces.get(pk, [])), packed)
    answered = _availability(found, read.parts)
    return ServicePage(
        head=head,
        instances=tuple(_instance_row(instance, found, answered.get(instance.pk)) for instance in found.instances.all()),
        endpoints=tuple(endpoints),
        idle_endpoints=idle,
        documents_since=packed.since or read.packed.since,
    )


@dataclass(slots=True)
class _Packed:
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
class _Read:
    """What the history holds on some services, by service."""

    parts: Sequence[Part]
    edges: Sequence[datetime]
    pieces: dict[int, list[Piece]] = field(default_factory=dict)
    buckets: dict[int, dict[int, int]] = field(default_factory=dict)
    outdated: dict[int, datetime] = field(default_factory=dict)
    """Services whose pieces are from before the window: the latest interval's end."""
    latest: dict[int, Q] = field(default_factory=dict)
    """Which rows these pieces are."""
    packed: _Packed = field(default_factory=lambda: _Packed(MAX_PACKED))


def _read(services: Sequence[Service], window: Window, now: datetime) -> _Read:
    """The services' intervals in the window, or, where a service has none there, the latest one of each instance."""
    edges = window.edges(now)
    pks = [service.pk for service in services]
    instances = {instance.pk for service in services for instance in service.instances.all()}
    read = _Read(window.parts(now, _rolled_up(pks)), edges)
    pieces: dict[int, list[Piece]] = defaultdict(list)
    histograms: dict[int, packing.BucketSum] = defaultdict(packing.BucketSum)
    first, step, last = milliseconds(edges[0]), window.step // _MILLISECOND, len(edges) - 2
    for part in read.parts:
        rows = Interval.objects.filter(_of(part), service__in=pks)
        number = 0
        offset = F("end") - first - 1
        groups = rows.annotate(at=offset - offset % step).values("service_id", "instance_id", "at")
        sums = _summed(groups).annotate(first_start=Min(F("end") - F("covered")), time=Sum("covered"))
        for row in sums.iterator(chunk_size=2000):
            pieces[row["service_id"]].append(_piece(row, instances, min(row["at"] // step, last)))
            number += row["rows"]
        packed = rows.filter(buckets__isnull=False).order_by().values_list("service_id", "end", "buckets")
        for service_id, _, buckets in read.packed.read(packed, number):
            histograms[service_id].add(buckets)
    for row in _latest([pk for pk in pks if pk not in pieces]):
        pk, end = row["service_id"], moment(row["last_end"])
        pieces[pk].append(_piece(row, instances, 0))
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


def _of(part: Part) -> Q:
    condition = Q(resolution=part.resolution, end__gt=part.after)
    return condition if part.until is None else condition & Q(end__lte=part.until)


def _summed(groups: QuerySet[Any, Any]) -> QuerySet[Any, dict[str, Any]]:
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


def _piece(row: Mapping[str, Any], instances: Container[int], step: int = 0) -> Piece:
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


def _service_row(service: Service, read: _Read, now: datetime) -> ServiceRow:
    pieces = read.pieces.get(service.pk, [])
    as_of = read.outdated.get(service.pk)
    found = numbers.sum_up(pieces, numbers.covered_seconds(pieces), read.buckets.get(service.pk))
    instances = list(service.instances.all())
    answered = [one.last_success_at for one in instances if one.last_error]
    warnings = [f"{one.label}: {one.warning}" if len(instances) > 1 else one.warning for one in instances if one.warning]
    return ServiceRow(
        pk=service.pk,
        name=service.name,
        schedule=service.schedule,
        condition=judge(service, found.error_rate, now),
        last_polled_at=service.last_polled_at,
        down_since=min((moment for moment in answered if moment), default=None) if all(answered) else None,
        error=service.last_error,
        warning="; ".join(warnings),
        figures=found,
        series=numbers.series([] if as_of else pieces, read.edges),
        as_of=as_of,
    )


def _instance_row(instance: Instance, service: Service, availability: float | None) -> InstanceRow:
    if not service.enabled:
        condition = Condition.PAUSED
    elif instance.last_error:
        condition = Condition.DOWN
    elif instance.last_polled_at is None:
        condition = Condition.NEW
    else:
        condition = Condition.WARNING if instance.warning else Condition.UP
    return InstanceRow(
        instance.label,
        instance.url,
        condition,
        instance.last_polled_at,
        instance.last_success_at,
        instance.last_error,
        instance.warning,
        instance.failures,
        instance.poll_duration,
        availability,
    )


def _endpoints(
    service: Service, shown: Iterable[Q], covered: Mapping[int | None, float], packed: _Packed
) -> tuple[list[EndpointRow], int]:
    """The endpoints at which something happened, and how many others there are."""
    names = {pk: (method, route) for pk, method, route in service.endpoints.order_by().values_list("pk", "method", "route")}
    instances = {instance.pk for instance in service.instances.all()}
    pieces: dict[int, list[Piece]] = defaultdict(list)
    histograms: dict[int, packing.BucketSum] = defaultdict(packing.BucketSum)
    codes: dict[int, dict[int, int]] = defaultdict(dict)
    for condition in shown:
        rows = EndpointInterval.objects.filter(condition, service=service)
        number = 0
        for row in _summed(rows.values("endpoint_id", "instance_id")):
            pieces[row["endpoint_id"]].append(_piece(row, instances))
            number += row["rows"]
        documents = rows.order_by().values_list("endpoint_id", "end", "status_codes", "buckets")
        for endpoint_id, _, status_codes, buckets in packed.read(documents, number):
            answers = codes[endpoint_id]
            for code, count in packing.unpack_codes(status_codes).items():
                answers[code] = answers.get(code, 0) + count
            if buckets is not None:
                histograms[endpoint_id].add(buckets)
    found = [
        EndpointRow(
            *names[pk],
            numbers.sum_up(parts, covered, histograms[pk].buckets()),
            tuple(sorted(codes[pk].items())),
        )
        for pk, parts in pieces.items()
        if pk in names  # else it was deleted with its service just now
    ]
    return found, max(0, len(names) - len(found))


def _availability(service: Service, parts: Iterable[Part]) -> dict[int, float]:
    """The share of polls that each instance answered."""
    polls: dict[int, int] = defaultdict(int)
    failures: dict[int, int] = defaultdict(int)
    for part in parts:
        rows = Availability.objects.filter(_of(part), service=service).order_by().values("instance_id")
        for row in rows.annotate(polled=Sum("polls"), failed=Sum("failures")):
            polls[row["instance_id"]] += row["polled"]
            failures[row["instance_id"]] += row["failed"]
    return {pk: 1 - failures[pk] / number for pk, number in polls.items() if number}
