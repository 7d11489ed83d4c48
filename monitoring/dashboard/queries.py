"""What the pages show, read from the registry and the history: the dashboard's only reader of models. No HTTP in here.

The number of queries does not depend on the number of services. The database adds up what SQL can add; histograms and status
codes are JSON and are added here, from the newest MAX_DOCUMENTS intervals of the window, so that no page is without bound.
An interval belongs to the window in which it ends, whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Case, F, IntegerField, Max, Min, OuterRef, Q, QuerySet, Subquery, Sum, Value, When

from monitoring import histogram
from monitoring.dashboard import figures as numbers
from monitoring.dashboard.conditions import Condition, is_overdue, judge
from monitoring.dashboard.figures import Piece
from monitoring.dashboard.rows import EndpointRow, Fleet, InstanceRow, ServicePage, ServiceRow
from monitoring.dashboard.windows import Window
from monitoring.models import Endpoint, Instance, Interval, Service

MAX_DOCUMENTS = 20_000
"""How many histograms, or status code counts, a page adds up: about half a second's worth."""


def fleet(window: Window, now: datetime) -> Fleet:
    """Every service, five queries at most."""
    services = list(Service.objects.prefetch_related("instances"))
    read = _read(Interval.objects.filter(endpoint=None), services, window, now)
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
        documents_since=read.documents_since,
    )


def service(pk: int, window: Window, now: datetime) -> ServicePage | None:
    """One service, eight queries at most; None where there is no such service."""
    found = Service.objects.prefetch_related("instances").filter(pk=pk).first()
    if found is None:
        return None
    totals = Interval.objects.filter(service=found, endpoint=None)
    read = _read(totals, [found], window, now)
    head = _service_row(found, read, now)
    pieces = read.pieces.get(found.pk, [])
    shown = Q(end__gt=now - window.length)
    if head.as_of is not None:
        shown = Q(pk__in=[])  # the latest interval of each instance
        for piece in pieces:
            shown |= Q(instance=piece.instance_id, end=piece.end)
    endpoints, documents_since = _endpoints(
        Interval.objects.filter(shown, service=found, endpoint__isnull=False), numbers.covered_seconds(pieces)
    )
    return ServicePage(
        head=head,
        instances=tuple(_instance_row(instance, found) for instance in found.instances.all()),
        endpoints=tuple(endpoints),
        idle_endpoints=max(0, Endpoint.objects.filter(service=found).count() - len(endpoints)),
        documents_since=documents_since or read.documents_since,
    )


@dataclass(frozen=True, slots=True)
class _Read:
    """What the history holds on some services, by service."""

    pieces: Mapping[int, list[Piece]]
    buckets: Mapping[int, dict[int, int]]
    outdated: Mapping[int, datetime]
    """Services whose pieces are from before the window: the latest interval's end."""
    edges: Sequence[datetime]
    documents_since: datetime | None


def _read(totals: QuerySet[Interval], services: Sequence[Service], window: Window, now: datetime) -> _Read:
    edges = window.edges(now)
    current = totals.filter(end__gt=now - window.length)
    pieces: dict[int, list[Piece]] = defaultdict(list)
    steps = [When(end__lte=edge, then=Value(index)) for index, edge in enumerate(edges[1:-1])]
    step = Case(*steps, default=Value(len(edges) - 2), output_field=IntegerField())
    for row in _summed(current.annotate(step=step).values("service_id", "instance_id", "step")):
        pieces[row["service_id"]].append(_piece(row))
    documents = current.filter(buckets__isnull=False).order_by("-end").values_list("service_id", "end", "buckets")
    histograms: dict[int, list[dict[int, int]]] = defaultdict(list)
    oldest, number = None, 0
    for service_id, end, buckets in documents[:MAX_DOCUMENTS].iterator(chunk_size=2000):
        histograms[service_id].append(_integer_keys(buckets))
        oldest, number = end, number + 1
    outdated: dict[int, datetime] = {}
    missing = [service.pk for service in services if service.pk not in pieces]
    for row in _latest(missing) if missing else ():
        service_id = row["service_id"]
        pieces[service_id].append(_piece(row))
        outdated[service_id] = max(row["last_end"], outdated.get(service_id, row["last_end"]))
        if row["buckets"] is not None:
            histograms[service_id].append(_integer_keys(row["buckets"]))
    return _Read(
        pieces=pieces,
        buckets={service_id: histogram.merge(parts) for service_id, parts in histograms.items()},
        outdated=outdated,
        edges=edges,
        documents_since=oldest if number == MAX_DOCUMENTS else None,
    )


def _summed(groups: QuerySet[Interval, Any]) -> Iterator[dict[str, Any]]:
    """Sums over each group of intervals, under names that are none of the model's."""
    summed: QuerySet[Interval, dict[str, Any]] = groups.order_by().annotate(
        first_start=Min("start"),
        last_end=Max("end"),
        covered=Sum(F("end") - F("start")),
        requests=Sum("count"),
        failed=Sum("errors"),
        seconds=Sum("duration_sum"),
        longest=Max("duration_max"),
    )
    return summed.iterator(chunk_size=2000)


def _latest(service_ids: list[int]) -> Iterable[dict[str, Any]]:
    """The latest total of each instance of these services, with its histogram."""
    same = Interval.objects.filter(service=OuterRef("service"), instance=OuterRef("pk"), endpoint=None)
    newest = Instance.objects.filter(service__in=service_ids).annotate(newest=Subquery(same.order_by("-end").values("pk")[:1]))
    latest: Iterable[dict[str, Any]] = Interval.objects.filter(pk__in=newest.values("newest")).values(
        "service_id",
        "instance_id",
        "buckets",
        step=Value(0),
        first_start=F("start"),
        last_end=F("end"),
        covered=F("end") - F("start"),
        requests=F("count"),
        failed=F("errors"),
        seconds=F("duration_sum"),
        longest=F("duration_max"),
    )
    return latest


def _piece(row: Mapping[str, Any]) -> Piece:
    return Piece(
        row["instance_id"],
        row.get("step", 0),
        row["first_start"],
        row["last_end"],
        row["covered"].total_seconds(),
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


def _instance_row(instance: Instance, service: Service) -> InstanceRow:
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
    )


def _endpoints(intervals: QuerySet[Interval], covered: Mapping[int | None, float]) -> tuple[list[EndpointRow], datetime | None]:
    pieces: dict[tuple[int, str, str], list[Piece]] = defaultdict(list)
    for row in _summed(intervals.values("endpoint_id", "endpoint__method", "endpoint__route", "instance_id")):
        pieces[row["endpoint_id"], row["endpoint__method"], row["endpoint__route"]].append(_piece(row))
    histograms: dict[int, list[dict[int, int]]] = defaultdict(list)
    codes: dict[int, list[dict[int, int]]] = defaultdict(list)
    oldest, number = None, 0
    documents = intervals.order_by("-end").values_list("endpoint_id", "end", "status_codes", "buckets")
    for endpoint_id, end, status_codes, buckets in documents[:MAX_DOCUMENTS].iterator(chunk_size=2000):
        codes[endpoint_id].append(_integer_keys(status_codes))
        if buckets is not None:
            histograms[endpoint_id].append(_integer_keys(buckets))
        oldest, number = end, number + 1
    rows = [
        EndpointRow(
            method,
            route,
            numbers.sum_up(parts, covered, histogram.merge(histograms[endpoint_id])),
            tuple(sorted(histogram.merge(codes[endpoint_id]).items())),
        )
        for (endpoint_id, method, route), parts in pieces.items()
    ]
    return rows, oldest if number == MAX_DOCUMENTS else None


def _integer_keys(counts: Mapping[str, int]) -> dict[int, int]:
    return {int(key): count for key, count in counts.items()}
