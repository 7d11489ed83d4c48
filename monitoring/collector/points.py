"""From polled documents to InfluxDB points, in line protocol; no I/O and no dependency.

Format: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/. The layout is the Gin exporter's, extended
(docs/architecture.md, "InfluxDB points"); a field never changes its type.

What the protocol cannot carry in a measurement or a tag is replaced by U+FFFD: line breaks and other control characters, lone
surrogates, and a backslash at the end or before a comma, a space, an equals sign or another backslash (readers disagree about
whether such a backslash escapes; one before anything else is literal to all). An empty tag is left out. A measurement that
started with "#" would be a comment, and "_" is reserved: the measurement of the service "_x" is "service_x". Numbers that are
not finite, or too large for a signed 64-bit integer, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from operator import itemgetter

from monitoring import histogram
from monitoring.collector.intervals import EndpointInterval
from monitoring.collector.sinks.base import PolledInstance
from monitoring.wire import EndpointMetrics

PRECISION = "ms"
"""Of the timestamps, as InfluxDB's write API names it: those of the history, so that its points overwrite those of polls."""

POLL_MEASUREMENT = "monitoring_poll"

MAX_ERROR_LENGTH = 1000
"""Characters of an error that are kept."""

_QUANTILES = (0.50, 0.95, 0.99)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)
_MAX_INTEGER = 2**63 - 1
_MIN_INTEGER = -_MAX_INTEGER
_IDLE = ",interval_count=0i,interval_duration=0.0,interval_errors=0i"

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_AMBIGUOUS_BACKSLASH = re.compile(r"\\(?=[\\,= ]|\Z)")
_SPECIAL_IN_MEASUREMENT = re.compile(r"[, ]")
_SPECIAL_IN_TAG = re.compile(r"[,= ]")
_SPECIAL_IN_STRING = re.compile(r'["\\]')
_PLAIN = re.compile(r"[!-+\--<>-\[\]-~]+")
"""A text that is written as it is, wherever it stands: ASCII without space, comma, equals sign and backslash."""


def timestamp(at: datetime) -> int:
    """The moment in PRECISION, exactly as the history keeps it (models.milliseconds)."""
    return (at - _EPOCH) // _MILLISECOND


def lines(polled: PolledInstance) -> list[str]:
    """The points of one poll, one line each: the poll itself first, then every endpoint of its document.

    Cumulative fields are written for each endpoint in the document, whether it was asked for or not, as a counter is read. Fields
    of the interval are written wherever an interval ended with this poll, as zeros where nothing happened, so that sums and
    averages over time are right; the baseline poll has none. Quantiles and `max` are only there where something was measured.
    An endpoint that is in the interval alone, as `_OTHER/_other` may be, has no cumulative fields.
    """
    stamp = timestamp(polled.polled_at)
    written = [_poll_line(polled, stamp)]
    if polled.document is None:
        return written
    head = series_of(polled.service, polled.instance)
    changed = None if polled.interval is None else {(one.method, one.route): one for one in polled.interval.endpoints}
    for endpoint in polled.document.endpoints.values():
        method, route = endpoint.method, endpoint.route
        fields = _cumulative(endpoint)
        if changed is not None:
            interval = changed.pop((method, route), None)
            fields += _IDLE if interval is None else interval_fields(interval)
        if fields:
            written.append(f"{head}{endpoint_tags(method, route)} {fields[1:]} {stamp}")
    for (method, route), interval in (changed or {}).items():
        if fields := interval_fields(interval):
            written.append(f"{head}{endpoint_tags(method, route)} {fields[1:]} {stamp}")
    return written


def series_of(service: str, instance: str) -> str:
    """What the lines of a service's instance begin with: the measurement and the first tag."""
    return _measurement(service) + _tag("instance", instance)


def endpoint_tags(method: str, route: str) -> str:
    """What follows it in the lines of an endpoint."""
    path = method + route
    if method and route and _PLAIN.fullmatch(path):
        return f",method={method},path={path},route={route}"
    return _tag("method", method) + _tag("path", path) + _tag("route", route)


def poll_series_of(service: str, instance: str) -> str:
    """What the lines of the polls of an instance begin with."""
    return POLL_MEASUREMENT + _tag("instance", instance) + _tag("service", service)


def _poll_line(polled: PolledInstance, stamp: int) -> str:
    error = _SPECIAL_IN_STRING.sub(r"\\\g<0>", _printable(" ".join(polled.error.split())[:MAX_ERROR_LENGTH]))
    fields = poll_fields(1, 1 if polled.error else 0, polled.poll_duration)
    # The error is written when it is empty, too, so that the last one is current.
    return f'{poll_series_of(polled.service, polled.instance)} {fields[1:]},error="{error}" {stamp}'


# Each field begins with a comma, and is empty where no database could hold it. Fields that are always there are written at once
# where all of them can be held, which takes half the time.


def poll_fields(polls: int, failures: int, seconds: float) -> str:
    """Of one poll, or of several: `up` is then 0 if one of them failed, and the seconds are those of the slowest."""
    return f",up={0 if failures else 1}i{_float('poll_duration', seconds)},polls={polls}i,failures={failures}i"


def _cumulative(endpoint: EndpointMetrics) -> str:
    count, seconds = endpoint.count, endpoint.duration_sum
    if type(seconds) is float and seconds - seconds == 0.0 and count <= _MAX_INTEGER:
        return f",count={count}i,duration={seconds!r}{_codes('', endpoint.status_codes)}"
    return _integer("count", count) + _float("duration", seconds) + _codes("", endpoint.status_codes)


def interval_fields(interval: EndpointInterval) -> str:
    count, seconds, errors, codes = interval.count, interval.duration_sum, interval.errors, interval.status_codes
    # Status codes as well: a difference of the cumulative ones would miss the first answer of its kind.
    if type(seconds) is float and seconds - seconds == 0.0 and errors <= count <= _MAX_INTEGER:
        fields = f",interval_count={count}i,interval_duration={seconds!r},interval_errors={errors}i{_codes('interval_', codes)}"
    else:
        fields = _integer("interval_count", count) + _float("interval_duration", seconds)
        fields += _integer("interval_errors", errors) + _codes("interval_", codes)
    buckets, longest = interval.buckets, interval.duration_max
    if buckets and (found := histogram.quantile_buckets(buckets, _QUANTILES)):
        fields += _quantiles(*found)
    return fields if longest is None else fields + _float("max", longest)


@lru_cache(4096)
def _quantiles(p50: int, p95: int, p99: int) -> str:
    """Of their buckets: to write three numbers of 17 digits takes ten times as long as to look this up."""
    return "".join([f",{name}={histogram.midpoint(index)!r}" for name, index in (("p50", p50), ("p95", p95), ("p99", p99))])


def _integer(name: str, value: int) -> str:
    return f",{name}={value}i" if _MIN_INTEGER <= value <= _MAX_INTEGER else ""


def _float(name: str, value: float) -> str:
    value = float(value)
    return f",{name}={value!r}" if value - value == 0.0 else ""  # of what is not finite the difference is not a number


def _codes(prefix: str, codes: Mapping[int, int]) -> str:
    if sum(codes.values()) > _MAX_INTEGER:
        return "".join([_integer(f"{prefix}{code}", count) for code, count in sorted(codes.items())])
    template, in_order = _layout_of_codes(prefix, *codes)
    return template % in_order(codes)


@lru_cache(4096)
def _layout_of_codes(prefix: str, *codes: int) -> tuple[str, Callable[[Mapping[int, int]], object]]:
    """How the counts of these status codes are written, and what gives them in that order."""
    if not codes:
        return "", lambda _: ()
    ordered = sorted(codes)
    return "".join([f",{prefix}{code}=%di" for code in ordered]), itemgetter(*ordered)


def _measurement(name: str) -> str:
    if not name or name[0] in "_#":
        name = "service" + name
    return _SPECIAL_IN_MEASUREMENT.sub(r"\\\g<0>", _unambiguous(name))


def _tag(key: str, value: str) -> str:
    return f",{key}=" + _SPECIAL_IN_TAG.sub(r"\\\g<0>", _unambiguous(value)) if value else ""


def _unambiguous(text: str) -> str:
    return _AMBIGUOUS_BACKSLASH.sub("\ufffd", _printable(text))


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", text)
