"""Points field by field, the plain and slow way: what collector/points.py has to write, for test_points.py to compare with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from monitoring import histogram
from monitoring.collector.intervals import EndpointInterval
from monitoring.collector.sinks.base import PolledInstance
from monitoring.wire import EndpointMetrics

POLL_MEASUREMENT = "monitoring_poll"

MAX_ERROR_LENGTH = 1000
"""Characters of an error that are kept."""

_QUANTILES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MAX_INTEGER = 2**63 - 1

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_AMBIGUOUS_BACKSLASH = re.compile(r"\\(?=[\\,= ]|\Z)")
_SPECIAL_IN_MEASUREMENT = re.compile(r"[, ]")
_SPECIAL_IN_TAG = re.compile(r"[,= ]")
_SPECIAL_IN_STRING = re.compile(r'["\\]')

_Field = int | float | str | None


def lines(polled: PolledInstance) -> list[str]:
    timestamp = (polled.polled_at - _EPOCH) // timedelta(milliseconds=1)
    written = [_poll_line(polled, timestamp)]
    if polled.document is None:
        return written
    measurement = _measurement(polled.service)
    instance = _tag("instance", polled.instance)
    changed = None if polled.interval is None else {(one.method, one.route): one for one in polled.interval.endpoints}
    reported = {(one.method, one.route): one for one in polled.document.endpoints.values()}
    for method, route in dict.fromkeys([*reported, *(changed or {})]):
        endpoint = reported.get((method, route))
        fields = {} if endpoint is None else _cumulative(endpoint)
        if changed is not None:
            fields.update(_of_interval(changed.get((method, route))))
        tags = instance + _tag("method", method) + _tag("path", method + route) + _tag("route", route)
        if encoded := _fields(fields):
            written.append(f"{measurement}{tags} {encoded} {timestamp}")
    return written


def _poll_line(polled: PolledInstance, timestamp: int) -> str:
    fields: dict[str, _Field] = {
        "up": 0 if polled.error else 1,
        "poll_duration": float(polled.poll_duration),
        "polls": 1,
        "failures": 1 if polled.error else 0,
        "error": " ".join(polled.error.split())[:MAX_ERROR_LENGTH],  # written when empty too, so that the last one is current
    }
    tags = _tag("instance", polled.instance) + _tag("service", polled.service)
    return f"{POLL_MEASUREMENT}{tags} {_fields(fields)} {timestamp}"


def _cumulative(endpoint: EndpointMetrics) -> dict[str, _Field]:
    fields: dict[str, _Field] = {"count": endpoint.count, "duration": float(endpoint.duration_sum)}
    for code, count in sorted(endpoint.status_codes.items()):
        fields[str(code)] = count
    return fields


def _of_interval(interval: EndpointInterval | None) -> dict[str, _Field]:
    if interval is None:
        return {"interval_count": 0, "interval_duration": 0.0, "interval_errors": 0}
    fields: dict[str, _Field] = {
        "interval_count": interval.count,
        "interval_duration": float(interval.duration_sum),
        "interval_errors": interval.errors,
    }
    for code, count in sorted(interval.status_codes.items()):
        fields[f"interval_{code}"] = count  # a difference of the cumulative fields would miss the first answer of its kind
    if interval.buckets:
        fields.update((name, histogram.quantile(interval.buckets, q)) for name, q in _QUANTILES)
    if interval.duration_max is not None:
        fields["max"] = float(interval.duration_max)
    return fields


def _fields(fields: Mapping[str, _Field]) -> str:
    encoded = ((name, _encode(value)) for name, value in fields.items())
    return ",".join(f"{name}={value}" for name, value in encoded if value is not None)


def _encode(value: _Field) -> str | None:
    if isinstance(value, str):
        return '"' + _SPECIAL_IN_STRING.sub(r"\\\g<0>", _printable(value)) + '"'
    if isinstance(value, int):
        return f"{value}i" if abs(value) <= _MAX_INTEGER else None
    return None if value is None or not math.isfinite(value) else repr(value)


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
