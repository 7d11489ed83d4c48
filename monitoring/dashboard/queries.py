"""What the pages show, read from the registry and the history. No HTTP in here.

The number of queries does not depend on the number of services. An interval belongs to the window in which it ends, whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from statistics import fmean

from django.db.models import Q, Sum

from monitoring import histogram, packing
from monitoring.dashboard import figures as numbers
from monitoring.dashboard import outbox as delivering
from monitoring.dashboard import reading
from monitoring.dashboard.conditions import Condition, judge, judge_instance
from monitoring.dashboard.figures import Piece
from monitoring.dashboard.outbox import OutboxRow, Rejected
from monitoring.dashboard.reading import Packed, Read, piece_of, read_intervals, rows_of, summed
from monitoring.dashboard.rows import CollectorRow, EndpointRow, Fleet, InstanceRow, ServicePage, ServiceRow
from monitoring.dashboard.windows import Part, Window
from monitoring.models import (
    Availability,
    Collector,
    EndpointInterval,
    Instance,
    OutboxState,
    RejectedPoints,
    Service,
    Waiting,
    WaitingPoints,
    moment,
    waiting,
)

MAX_RESTARTS = 100
_MAX_NAMES = 200

MAX_REJECTED_ROWS = 1000
"""Rows whose points are added up: a page does not wait for more."""

MAX_WAITING_ROWS = 20_000
"""Rows that are added up, in 4 to 20 ms. Two days of a hundred services are 300,000, in 60 ms: of so many it is about right."""

_SAMPLE = 500
"""Rows at either end that are taken for all."""


def fleet(window: Window, now: datetime) -> Fleet:
    """Every service."""
    services = list(Service.objects.prefetch_related("instances"))
    read = read_intervals(services, window, now)
    rows = tuple(_service_row(service, read, now) for service in services)
    # What a service did before it fell silent is no part of what the fleet does now.
    current = [row for row in rows if row.as_of is None or row.condition in (Condition.UP, Condition.WARNING, Condition.FAILING)]
    merged = histogram.merge(read.buckets.get(row.pk, {}) for row in current)
    polls = [row.last_polled_at for row in rows if row.last_polled_at]
    expected = [service for service in services if service.enabled]
    silent = bool(expected) and all(service.late_since(now) for service in expected)
    return Fleet(
        services=rows,
        figures=numbers.add_up([row.figures for row in current], merged),
        series=numbers.fleet_series(row.series for row in rows),
        silent_since=max(polls) if polls and silent else None,
        documents_since=read.packed.since,
        collector=_collector(now),
    )


def outbox(configured: bool, now: datetime) -> OutboxRow | None:
    """How points get on to InfluxDB; None where it is not in use. `configured`: whether it is in the settings."""
    state = OutboxState.objects.filter(pk=OutboxState.ONLY).first() or OutboxState()
    found, about = _waiting()
    return delivering.row(state, found, _rejected(), configured, now, about)


def service(pk: int, window: Window, now: datetime) -> ServicePage | None:
    """One service; None where there is no such service."""
    found = Service.objects.prefetch_related("instances").filter(pk=pk).first()
    if found is None:
        return None
    read = read_intervals([found], window, now)
    head = _service_row(found, read, now)
    shown = [rows_of(part) for part in read.parts] if head.as_of is None else [read.latest[pk]]
    packed = Packed(reading.MAX_PACKED)
    endpoints, idle = _endpoints(found, shown, numbers.covered_seconds(read.pieces.get(pk, [])), packed)
    answered = _availability(found, read.parts)
    return ServicePage(
        head=head,
        restarts=_restarts(found, window, now),
        instances=tuple(_instance_row(instance, found, answered.get(instance.pk)) for instance in found.instances.all()),
        endpoints=tuple(endpoints),
        idle_endpoints=idle,
        documents_since=packed.since or read.packed.since,
    )


def service_keys(names: Iterable[str]) -> dict[str, int]:
    """The primary keys of those of these services that are registered; of very many names, of the first ones."""
    asked = list(dict.fromkeys(names))[:_MAX_NAMES]
    return dict(Service.objects.filter(name__in=asked).values_list("name", "pk"))


def _service_row(service: Service, read: Read, now: datetime) -> ServiceRow:
    pieces = read.pieces.get(service.pk, [])
    as_of = read.outdated.get(service.pk)
    found = numbers.sum_up(pieces, numbers.covered_seconds(pieces), read.buckets.get(service.pk))
    instances = list(service.instances.all())
    answered = [one.last_success_at for one in instances if one.last_error]
    warnings = [f"{one.label}: {one.warning}" if len(instances) > 1 else one.warning for one in instances if one.warning]
    status = service.status(now)
    return ServiceRow(
        pk=service.pk,
        name=service.name,
        schedule=service.schedule,
        condition=judge(service, status.state, found.error_rate),
        since=status.since,
        last_polled_at=service.last_polled_at,
        down_since=min((moment for moment in answered if moment), default=None) if all(answered) else None,
        error=service.last_error,
        warning="; ".join(warnings),
        figures=found,
        series=numbers.series([] if as_of else pieces, read.edges),
        as_of=as_of,
    )


def _collector(now: datetime) -> CollectorRow | None:
    """The collector that ticked last; alive where any is."""
    collectors = list(Collector.objects.all())
    if not collectors:
        return None
    last = collectors[0]
    alive = any(one.is_alive(now) for one in collectors)
    return CollectorRow(last.host, last.mode, alive, last.ticked_at, last.duration, last.behind, last.error, len(collectors) - 1)


def _waiting() -> tuple[Waiting, bool]:
    """What waits, and whether that is about right only: keys follow each other, so that the first and the last tell how many."""
    rows = WaitingPoints.objects.values_list("pk", "created_at", "points", "size")
    first = list(rows.order_by("pk")[:_SAMPLE])
    if not first:
        return Waiting(), False
    last = list(rows.order_by("-pk")[:_SAMPLE])
    number = last[0][0] - first[0][0] + 1 if last else 0
    if number <= MAX_WAITING_ROWS:
        return waiting(), False
    sample = [*first, *last]
    points, size = (round(number * fmean(row[place] for row in sample)) for place in (2, 3))
    return Waiting(round(points, 2 - len(str(points))), size, moment(first[0][1])), True


def _rejected() -> Rejected:
    """What was refused and is set aside."""
    last = RejectedPoints.objects.order_by("-pk").defer("lines").first()
    if last is None:
        return Rejected()
    numbers_of = RejectedPoints.objects.order_by("-pk").values_list("points", flat=True)[: MAX_REJECTED_ROWS + 1]
    found = list(numbers_of)
    return Rejected(sum(found[:MAX_REJECTED_ROWS]), len(found) > MAX_REJECTED_ROWS, last.rejected_at, last.words)


def _restarts(service: Service, window: Window, now: datetime) -> tuple[datetime, ...]:
    """The restarts of its instances within the window, the latest first; not more of them than a page shows."""
    rows = service.restarts.filter(at__gt=now - window.length, at__lte=now)
    return tuple(rows.values_list("at", flat=True)[:MAX_RESTARTS])


def _instance_row(instance: Instance, service: Service, availability: float | None) -> InstanceRow:
    return InstanceRow(
        instance.label,
        instance.url,
        judge_instance(instance, paused=not service.enabled),
        instance.last_polled_at,
        instance.last_success_at,
        instance.last_error,
        instance.warning,
        instance.failures,
        instance.poll_duration,
        availability,
    )


def _endpoints(
    service: Service, shown: Iterable[Q], covered: Mapping[int | None, float], packed: Packed
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
        for row in summed(rows.values("endpoint_id", "instance_id")):
            pieces[row["endpoint_id"]].append(piece_of(row, instances))
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
        rows = Availability.objects.filter(rows_of(part), service=service).order_by().values("instance_id")
        for row in rows.annotate(polled=Sum("polls"), failed=Sum("failures")):
            polls[row["instance_id"]] += row["polled"]
            failures[row["instance_id"]] += row["failed"]
    return {pk: 1 - failures[pk] / number for pk, number in polls.items() if number}
