"""Rows of the history as tuples: made from what was polled, added up, and inserted past the ORM's objects.

A round of 1,000 services with 50 endpoints is 52,000 rows. As model instances with bulk_create they take four times the CPU time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

from django.db import connections, models, router
from django.db.models import Q

from monitoring import packing
from monitoring.collector.intervals import EndpointInterval as EndpointChange
from monitoring.models import Availability, EndpointInterval, Interval, Resolution, WaitingPoints


class IntervalRow(NamedTuple):
    """A row of Interval, its columns by name."""

    service_id: int
    resolution: int
    end: int
    instance_id: int
    count: int  # type: ignore[assignment]  # a tuple's method of this name is not called
    errors: int
    duration_sum: float
    duration_max: float | None
    status_codes: bytes
    buckets: bytes | None
    covered: int
    restarts: int


class EndpointRow(NamedTuple):
    """A row of EndpointInterval, its columns by name."""

    service_id: int
    resolution: int
    end: int
    instance_id: int
    count: int  # type: ignore[assignment]  # a tuple's method of this name is not called
    errors: int
    duration_sum: float
    duration_max: float | None
    status_codes: bytes
    buckets: bytes | None
    endpoint_id: int


class AvailabilityRow(NamedTuple):
    """A row of Availability, its columns by name."""

    service_id: int
    resolution: int
    end: int
    instance_id: int
    polls: int
    failures: int
    duration_sum: float
    duration_max: float


class WaitingRow(NamedTuple):
    """A row of WaitingPoints, its columns by name."""

    created_at: int
    points: int
    size: int
    lines: bytes


AnyRow = TypeVar("AnyRow", IntervalRow, EndpointRow, AvailabilityRow)
Row = IntervalRow | EndpointRow | AvailabilityRow | WaitingRow
HISTORY: dict[type[Row], type[models.Model]] = {
    IntervalRow: Interval,
    EndpointRow: EndpointInterval,
    AvailabilityRow: Availability,
}
MODELS: dict[type[Row], type[models.Model]] = {**HISTORY, WaitingRow: WaitingPoints}


_COPIED = 5
"""From so many rows on PostgreSQL's COPY takes less time than statements, which take twice as much for fifty."""


def polled_interval(
    service_id: int, instance_id: int, end: int, covered: int, restarts: int, total: EndpointChange
) -> IntervalRow:
    """What happened at an instance up to a poll. Moments in milliseconds. Raises OverflowError."""
    return IntervalRow(service_id, Resolution.POLL.value, end, instance_id, *_counts(total), covered, restarts)


def polled_endpoint(service_id: int, instance_id: int, end: int, endpoint_id: int, change: EndpointChange) -> EndpointRow:
    """The share of one endpoint. Raises OverflowError."""
    return EndpointRow(service_id, Resolution.POLL.value, end, instance_id, *_counts(change), endpoint_id)


def poll(service_id: int, instance_id: int, end: int, seconds: float, failed: bool) -> AvailabilityRow:
    """One poll of an instance."""
    return AvailabilityRow(service_id, Resolution.POLL.value, end, instance_id, 1, int(failed), seconds, seconds)


def _counts(change: EndpointChange) -> tuple[int, int, float, float | None, bytes, bytes | None]:
    return (
        change.count,
        change.errors,
        change.duration_sum,
        change.duration_max,
        packing.pack_codes(change.status_codes),
        None if change.buckets is None else packing.pack_buckets(change.buckets),
    )


def insert(rows: Sequence[Row]) -> None:
    """Insert rows of one kind. Raises DatabaseError or OverflowError."""
    if not rows:
        return
    model = MODELS[type(rows[0])]
    connection = connections[router.db_for_write(model)]
    with connection.cursor() as cursor:
        if len(rows) >= _COPIED and connection.vendor == "postgresql" and hasattr(cursor, "copy"):  # psycopg 3
            table, names = _quoted(model, rows[0]._fields, connection.alias)
            with connection.wrap_database_errors, cursor.copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            cursor.executemany(_insertion(model, rows[0]._fields, connection.alias), rows)


def select(model: type[models.Model], columns: tuple[str, ...], service_id: int) -> list[tuple[Any, ...]]:
    """These columns of a service's rows, for what every poll asks: a query costs the ORM 100 µs before it asks anything."""
    connection = connections[router.db_for_write(model)]
    with connection.cursor() as cursor:
        cursor.execute(_selection(model, columns, connection.alias), [service_id])
        return list(cursor.fetchall())


@cache
def _insertion(model: type[models.Model], columns: tuple[str, ...], alias: str) -> str:
    table, names = _quoted(model, columns, alias)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})"  # noqa: S608 (names of models)


@cache
def _selection(model: type[models.Model], columns: tuple[str, ...], alias: str) -> str:
    table, names = _quoted(model, (*columns, "service_id"), alias)
    return f"SELECT {', '.join(names[:-1])} FROM {table} WHERE {names[-1]} = %s"  # noqa: S608 (names of models)


def _quoted(model: type[models.Model], attributes: Sequence[str], alias: str) -> tuple[str, list[str]]:
    """A model's table and columns."""
    quote = connections[alias].ops.quote_name
    columns = {field.attname: str(field.column) for field in model._meta.concrete_fields}
    return quote(model._meta.db_table), [quote(columns[name]) for name in attributes]


def read(kind: type[AnyRow], condition: Q) -> Iterator[AnyRow]:
    """The rows that meet the condition, a few thousand at a time."""
    found = MODELS[kind]._default_manager.filter(condition).values_list(*kind._fields)
    return map(kind._make, found.iterator(chunk_size=2000))


class _Sum:
    """The sum of rows of one instance, or of one endpoint of it."""

    __slots__ = ("buckets", "codes", "count", "covered", "duration_max", "duration_sum", "end", "errors", "restarts")

    def __init__(self) -> None:
        self.count = self.errors = self.end = self.covered = self.restarts = 0
        self.duration_sum = 0.0
        self.duration_max: float | None = None
        self.codes: dict[int, int] = {}
        self.buckets: packing.BucketSum | None = None

    def add(self, row: IntervalRow | EndpointRow) -> None:
        self.end = max(self.end, row.end)
        self.count += row.count
        self.errors += row.errors
        self.duration_sum += row.duration_sum
        if row.duration_max is not None and (self.duration_max is None or row.duration_max > self.duration_max):
            self.duration_max = row.duration_max
        codes = self.codes
        for code, count in packing.unpack_codes(row.status_codes).items():
            codes[code] = codes.get(code, 0) + count
        if row.buckets is not None:
            if self.buckets is None:
                self.buckets = packing.BucketSum()
            self.buckets.add(row.buckets)

    def columns(self) -> tuple[int, int, float, float | None, bytes, bytes | None]:
        buckets = None if self.buckets is None else packing.pack_buckets(self.buckets.buckets())
        return (self.count, self.errors, self.duration_sum, self.duration_max, packing.pack_codes(self.codes), buckets)


def add_up_intervals(rows: Iterable[IntervalRow], resolution: Resolution) -> list[IntervalRow]:
    """One row an instance, its `end` that of the last one, of rows of one service in one stretch of time."""
    sums: dict[tuple[int, int], _Sum] = defaultdict(_Sum)
    for row in rows:
        total = sums[row.service_id, row.instance_id]
        total.add(row)
        total.covered += row.covered
        total.restarts += row.restarts
    return [
        IntervalRow(service_id, resolution.value, total.end, instance_id, *total.columns(), total.covered, total.restarts)
        for (service_id, instance_id), total in sums.items()
    ]


def add_up_endpoints(rows: Iterable[EndpointRow], resolution: Resolution, ends: Mapping[int, int]) -> list[EndpointRow]:
    """One row an instance and endpoint, as above; `ends` gives the end of each instance's interval, and so of its parts."""
    sums: dict[tuple[int, int, int], _Sum] = defaultdict(_Sum)
    for row in rows:
        sums[row.service_id, row.instance_id, row.endpoint_id].add(row)
    return [
        EndpointRow(service_id, resolution.value, ends.get(instance_id, total.end), instance_id, *total.columns(), endpoint_id)
        for (service_id, instance_id, endpoint_id), total in sums.items()
    ]


def add_up_availability(rows: Iterable[AvailabilityRow], resolution: Resolution) -> list[AvailabilityRow]:
    """One row an instance, as above."""
    sums: dict[tuple[int, int], AvailabilityRow] = {}
    for row in rows:
        before = sums.get((row.service_id, row.instance_id))
        sums[row.service_id, row.instance_id] = (
            row._replace(resolution=resolution.value)
            if before is None
            else AvailabilityRow(
                row.service_id,
                resolution.value,
                max(before.end, row.end),
                row.instance_id,
                before.polls + row.polls,
                before.failures + row.failures,
                before.duration_sum + row.duration_sum,
                max(before.duration_max, row.duration_max),
            )
        )
    return list(sums.values())
