"""From sums of intervals to what is shown: rates, shares, averages, quantiles, series. Pure.

Rates: an instance's requests are divided by the time its intervals cover (not by the window, and not by the time since the
last poll), then the instances are added up. So a missed poll, polls out of step and a service registered a minute ago all give
the true rate. What an instance that was deleted did counts as requests and errors, but no longer as a rate: its successor
serves these requests now. Only where nothing but deleted instances is left do they make the rate.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitoring import histogram


@dataclass(frozen=True, slots=True)
class Piece:
    """The sum of those intervals of one instance that end in the same step of the window. Durations in seconds."""

    instance_id: int | None
    """None: the instance was deleted since."""
    step: int
    start: datetime
    end: datetime
    covered: float
    """Seconds, the intervals' lengths added."""
    count: int
    errors: int
    duration_sum: float
    duration_max: float | None


def merged(pieces: Iterable[Piece]) -> list[Piece]:
    """One piece an instance and step: the parts of a window that are at different resolutions meet in a step."""
    found: dict[tuple[int | None, int], Piece] = {}
    for piece in pieces:
        key = piece.instance_id, piece.step
        other = found.get(key)
        found[key] = piece if other is None else _joined(other, piece)
    return list(found.values())


def _joined(one: Piece, other: Piece) -> Piece:
    return Piece(
        one.instance_id,
        one.step,
        min(one.start, other.start),
        max(one.end, other.end),
        one.covered + other.covered,
        one.count + other.count,
        one.errors + other.errors,
        one.duration_sum + other.duration_sum,
        max((value for value in (one.duration_max, other.duration_max) if value is not None), default=None),
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened in the window. None stands for what cannot be known: no interval, no request, no histogram."""

    count: int = 0
    errors: int = 0
    duration_sum: float = 0.0
    rate: float | None = None
    """Requests per second."""
    maximum: float | None = None
    p50: float | None = None
    p95: float | None = None

    @property
    def error_rate(self) -> float | None:
        """The share of answers with a status of 500 and above, 0 to 1."""
        return self.errors / self.count if self.count else None

    @property
    def average(self) -> float | None:
        return self.duration_sum / self.count if self.count else None


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a series; all None where no interval covers it."""

    rate: float | None = None
    error_rate: float | None = None
    average: float | None = None


def covered_seconds(pieces: Iterable[Piece]) -> dict[int | None, float]:
    """How much time is covered by each instance's intervals."""
    covered: dict[int | None, float] = defaultdict(float)
    for piece in pieces:
        covered[piece.instance_id] += piece.covered
    return dict(covered)


def sum_up(pieces: Sequence[Piece], covered: Mapping[int | None, float], buckets: Mapping[int, int] | None) -> Figures:
    """The figures of a service or of an endpoint; `covered` is the service's in both cases, `buckets` the merged histogram."""
    counts: dict[int | None, int] = defaultdict(int)
    for piece in pieces:
        counts[piece.instance_id] += piece.count
    present = [instance_id for instance_id, seconds in covered.items() if seconds > 0]
    counted = [instance_id for instance_id in present if instance_id is not None] or present
    return Figures(
        count=sum(counts.values()),
        errors=sum(piece.errors for piece in pieces),
        duration_sum=sum(piece.duration_sum for piece in pieces),
        rate=sum(counts[instance_id] / covered[instance_id] for instance_id in counted) if counted else None,
        maximum=max((piece.duration_max for piece in pieces if piece.duration_max is not None), default=None),
        p50=histogram.quantile(buckets, 0.5) if buckets else None,
        p95=histogram.quantile(buckets, 0.95) if buckets else None,
    )


def add_up(figures: Iterable[Figures], buckets: Mapping[int, int] | None) -> Figures:
    """The figures of several services together."""
    parts = list(figures)
    rates = [part.rate for part in parts if part.rate is not None]
    return Figures(
        count=sum(part.count for part in parts),
        errors=sum(part.errors for part in parts),
        duration_sum=sum(part.duration_sum for part in parts),
        rate=sum(rates) if rates else None,
        maximum=max((part.maximum for part in parts if part.maximum is not None), default=None),
        p50=histogram.quantile(buckets, 0.5) if buckets else None,
        p95=histogram.quantile(buckets, 0.95) if buckets else None,
    )


def series(pieces: Iterable[Piece], edges: Sequence[datetime]) -> tuple[Point, ...]:
    """A point a step. An interval longer than a step gives all the steps that it covers.

    The last one of an instance also stands for the time until the next poll can be expected: instances are polled at
    different seconds, and without it every sum of them would fall off at its end.
    """
    middles = [before + (after - before) / 2 for before, after in itertools.pairwise(edges)]
    by_instance: dict[int | None, dict[int, Piece]] = defaultdict(dict)
    for piece in pieces:
        if piece.covered > 0:
            by_instance[piece.instance_id][piece.step] = piece
    present: list[list[Piece]] = [[] for _ in middles]
    for own in by_instance.values():
        for step, piece in own.items():
            present[step].append(piece)
            earlier = step - 1
            while earlier >= 0 and earlier not in own and middles[earlier] >= piece.start:
                present[earlier].append(piece)
                earlier -= 1
        last = own[max(own)]
        expected = last.end + timedelta(seconds=last.covered)
        for later in range(last.step + 1, len(middles)):
            if edges[later] < expected:
                present[later].append(last)
    return tuple(_point(together) for together in present)


def fleet_series(all_series: Iterable[Sequence[Point]]) -> tuple[Point, ...]:
    """The sum over services, step by step."""
    return tuple(_together(points) for points in zip(*all_series, strict=True))


def _point(pieces: Sequence[Piece]) -> Point:
    return _together(
        [
            Point(
                piece.count / piece.covered,
                piece.errors / piece.count if piece.count else None,
                piece.duration_sum / piece.count if piece.count else None,
            )
            for piece in pieces
        ]
    )


def _together(points: Sequence[Point]) -> Point:
    """Points of the same step as one: rates add up, the rest is weighted with them."""
    rates = [point.rate for point in points if point.rate is not None]
    if not rates:
        return Point()
    rate = sum(rates)
    if rate <= 0:
        return Point(rate)
    return Point(
        rate,
        sum((point.rate or 0.0) * (point.error_rate or 0.0) for point in points) / rate,
        sum((point.rate or 0.0) * (point.average or 0.0) for point in points) / rate,
    )
