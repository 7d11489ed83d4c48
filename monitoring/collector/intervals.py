"""From cumulative counters to intervals: what changed between two polls of one instance.

Counters are cumulative, so a missed poll loses resolution and never counts. A `started_at` that changed, or, where the service
does not tell it, a counter that fell, is a restart: everything in the new document then happened since. A counter that fell
without a restart (a series that left for being idle, and came back) is counted from zero, and it alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from monitoring import histogram
from monitoring.wire import EndpointMetrics, MetricsDocument

CLOCK_STEP = timedelta(minutes=10)
"""From so much on a stamp that lies ahead is one of a clock that was set back; no poll takes as long."""

SHORTEST = timedelta(seconds=1)
"""What a process counted that was started less than this before its poll, by its own clock, was counted in this time at least."""

HANDOVER = timedelta(minutes=10)
"""How long before the last poll of its predecessor a process may have been started."""


@dataclass(frozen=True, slots=True)
class EndpointInterval:
    """What happened at one endpoint in one interval. Durations in seconds."""

    method: str
    route: str
    count: int
    duration_sum: float
    duration_max: float | None
    """Exact where the maximum of all time grew in this interval, else the upper bound of the highest bucket that did."""
    status_codes: dict[int, int] = field(default_factory=dict)
    buckets: dict[int, int] | None = None

    @property
    def errors(self) -> int:
        """Answers with a status of 500 and above: the service's own failures."""
        return sum([count for code, count in self.status_codes.items() if code >= 500])


@dataclass(frozen=True, slots=True)
class InstanceInterval:
    """What happened at one instance between two polls: only endpoints at which something did."""

    start: datetime
    end: datetime
    reset: bool
    """The instance restarted since the poll before."""
    endpoints: list[EndpointInterval]
    fallen: tuple[str, ...] = ()
    """Keys of endpoints whose count fell although the instance says that it did not restart."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The document of the poll before, and when it was taken."""

    document: MetricsDocument
    polled_at: datetime
    poll_duration: float = 0.0
    """Seconds from then until the document was there."""


def between(
    baseline: Baseline | None,
    current: MetricsDocument,
    polled_at: datetime,
    registered_at: datetime,
    starts: Collection[float] = (),
) -> InstanceInterval | None:
    """The interval that ends with this poll; None where this poll serves as the baseline only.

    It does where it is the first, unless the instance started after it was registered and so has no unknown past; and where
    another process answers than before, but none that came after that one: what it counted until now is not what happened in
    between. `starts` are those of the instance's polls before.
    """
    started_at = moment(current.started_at)
    if baseline is None:
        if started_at is None or started_at < registered_at or started_at >= polled_at:
            return None
        return InstanceInterval(min(started_at, polled_at - SHORTEST), polled_at, False, _since({}, current))
    start = min(baseline.polled_at, polled_at)  # a clock that was set back gives an interval without length, not a negative one
    if not _restarted(baseline, current):
        before = baseline.document.endpoints
        return InstanceInterval(start, polled_at, False, _since(before, current), tuple(_fallen(before, current)))
    if _is_no_successor(baseline, current, starts):
        return None
    if started_at is not None and start < started_at < polled_at:
        start = max(start, min(started_at, polled_at - SHORTEST))
    return InstanceInterval(start, polled_at, True, _since({}, current))


def is_stale(baseline: Baseline | None, polled_at: datetime) -> bool:
    """Whether this poll began before the stored one had its answer: two collectors overlapped.

    Which of the two documents is the older one cannot be known then, and taking the older one last would look like counts that
    fell. Nothing is lost by leaving it out: what it counted is in the stored one or will be in the next.
    """
    if baseline is None:
        return False
    answered_at = baseline.polled_at + timedelta(seconds=baseline.poll_duration)
    return polled_at == answered_at or is_older(polled_at, answered_at)


def is_older(polled_at: datetime, other: datetime) -> bool:
    """Whether a poll was asked before another one: not where that lies so far ahead that the clock was set back since."""
    return timedelta() < other - polled_at <= CLOCK_STEP


def moment(seconds: float | None) -> datetime | None:
    """A stamp of a document as a datetime; None where it is beyond what a date can hold, and so tells nothing."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def total(endpoints: Iterable[EndpointInterval]) -> EndpointInterval:
    """The sum over endpoints, as one interval without method and route."""
    count, duration_sum, codes = 0, 0.0, dict[int, int]()
    maxima: list[float] = []
    histograms: list[Mapping[int, int]] = []
    for endpoint in endpoints:
        count += endpoint.count
        duration_sum += endpoint.duration_sum
        for code, number in endpoint.status_codes.items():
            codes[code] = codes.get(code, 0) + number
        if endpoint.duration_max is not None:
            maxima.append(endpoint.duration_max)
        if endpoint.buckets is not None:
            histograms.append(endpoint.buckets)
    buckets = histogram.merge(histograms) if histograms else None
    return EndpointInterval("", "", count, duration_sum, max(maxima, default=None), codes, buckets)


def _restarted(baseline: Baseline, current: MetricsDocument) -> bool:
    before = baseline.document
    if before.started_at is not None and current.started_at is not None:
        return before.started_at != current.started_at
    if current.started_at is not None and current.started_at >= baseline.polled_at.timestamp():
        return True
    return any(_fallen(before.endpoints, current))


def _is_no_successor(baseline: Baseline, current: MetricsDocument, starts: Collection[float]) -> bool:
    """Whether what answers ran before, beside the process that answered then.

    A successor may have been started a while before it took over, and clocks differ: so much is let pass.
    """
    before, now = baseline.document.started_at, current.started_at
    if before is None or now is None:
        return False
    return now in starts or now < before or now < (baseline.polled_at - HANDOVER).timestamp()


def _fallen(before: Mapping[str, EndpointMetrics], current: MetricsDocument) -> Iterator[str]:
    return (key for key, endpoint in current.endpoints.items() if key in before and endpoint.count < before[key].count)


def _since(before: Mapping[str, EndpointMetrics], current: MetricsDocument) -> list[EndpointInterval]:
    changed = []
    for key, endpoint in current.endpoints.items():
        earlier = before.get(key)
        if earlier is None and before and current.truncated:
            continue  # it may be one that was left out before, and has counted long since
        if earlier is None or endpoint.count < earlier.count:
            earlier = EndpointMetrics(endpoint.method, endpoint.route, buckets={})
        if endpoint.count > earlier.count:
            changed.append(_difference(earlier, endpoint))
    return changed


def _difference(earlier: EndpointMetrics, endpoint: EndpointMetrics) -> EndpointInterval:
    buckets = None
    if endpoint.buckets is not None and earlier.buckets is not None:
        buckets = _grown(earlier.buckets, endpoint.buckets)
    longest = None
    if endpoint.duration_max is not None and endpoint.duration_max > (earlier.duration_max or 0.0):
        longest = endpoint.duration_max
    elif buckets:
        longest = histogram.upper_bound(max(buckets))
    return EndpointInterval(
        endpoint.method,
        endpoint.route,
        endpoint.count - earlier.count,
        max(0.0, endpoint.duration_sum - earlier.duration_sum),
        longest,
        _grown(earlier.status_codes, endpoint.status_codes),
        buckets,
    )


def _grown(before: Mapping[int, int], after: Mapping[int, int]) -> dict[int, int]:
    return {key: grown for key, count in after.items() if (grown := count - before.get(key, 0)) > 0}
