"""The duration histogram: OpenTelemetry's base-2 exponential buckets at a fixed scale.

At scale 2 bucket ``i`` holds durations in the half-open range ``(2**(i/4), 2**((i+1)/4)]`` seconds
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponential-scale). The boundaries are the same everywhere and
for ever, so histograms of workers, instances and intervals merge by adding, without loss.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping

SCALE = 2
_STEPS = 1 << SCALE  # buckets per power of two

MIN_INDEX = -20 * _STEPS
"""Lowest bucket kept: its lower bound is 2**-20 s, about 1 microsecond. What is shorter is counted in it."""

MAX_INDEX = 10 * _STEPS - 1
"""Highest bucket kept: its upper bound is 2**10 s, about 17 minutes. What is longer is counted in it."""

BUCKET_COUNT = MAX_INDEX - MIN_INDEX + 1

UPPER_BOUNDS: tuple[float, ...] = tuple(2.0 ** ((index + 1) / _STEPS) for index in range(MIN_INDEX, MAX_INDEX + 1))
"""Upper bound in seconds of each kept bucket, MIN_INDEX first."""

INNER_BOUNDS: tuple[float, ...] = UPPER_BOUNDS[:-1]
"""Without the last one: what is too long for every bucket falls into the highest."""


def bucket_offset(seconds: float) -> int:
    """The bucket of a duration, counted from MIN_INDEX: 0 to BUCKET_COUNT - 1. Out of range is clamped."""
    return bisect_left(INNER_BOUNDS, seconds)


def bucket_index(seconds: float) -> int:
    """The bucket of a duration, as written on the wire: MIN_INDEX to MAX_INDEX."""
    return MIN_INDEX + bisect_left(INNER_BOUNDS, seconds)


def lower_bound(index: int) -> float:
    """Exclusive lower bound of a bucket in seconds."""
    return float(2.0 ** (index / _STEPS))


def upper_bound(index: int) -> float:
    """Inclusive upper bound of a bucket in seconds."""
    return float(2.0 ** ((index + 1) / _STEPS))


def merge(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """The exact sum of any number of histograms ``{bucket index: count}``."""
    merged: dict[int, int] = {}
    for histogram in histograms:
        for index, count in histogram.items():
            merged[index] = merged.get(index, 0) + count
    return merged


def quantile(buckets: Mapping[int, int], q: float) -> float | None:
    """The nearest-rank quantile in seconds, ``0 < q <= 1``; None where nothing was counted.

    A value in bucket (lo, hi] is reported as ``2*lo*hi/(lo+hi)``, the point with the smallest worst relative error: at most
    ``(hi-lo)/(hi+lo)``, 8.7 % at scale 2.
    """
    found = quantile_buckets(buckets, (q,))
    return midpoint(found[0]) if found else None


def quantile_buckets(buckets: Mapping[int, int], qs: Iterable[float]) -> tuple[int, ...]:
    """The buckets that such quantiles, ascending, lie in; empty where nothing was counted."""
    total = sum(buckets.values())
    if total <= 0:
        return ()
    found, seen, index = [], 0, 0
    ascending = iter(sorted(buckets))
    for q in qs:
        rank = math.ceil(q * total)
        if seen < rank:
            for index in ascending:
                seen += buckets[index]
                if seen >= rank:
                    break
        found.append(index)
    return tuple(found)


def midpoint(index: int) -> float:
    """What stands for all durations of a bucket, in seconds."""
    low, high = lower_bound(index), upper_bound(index)
    return 2 * low * high / (low + high)
