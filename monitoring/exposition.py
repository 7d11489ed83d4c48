"""A snapshot as what is served: the JSON document, or Prometheus' text format.

The metrics are those of OpenTelemetry's semantic conventions for HTTP servers, as its Prometheus exporter spells them
(https://opentelemetry.io/docs/specs/semconv/http/http-metrics/). The text format is 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from monitoring import histogram, wire

JSON_CONTENT_TYPE = "application/json"
PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_EXPONENTS = range(-10, 5)
"""Of the upper bounds (`le`) of Prometheus' buckets, powers of two: about 1 ms to 16 s. Ours fall into them without remainder."""

_BUCKETS_A_BOUND = 1 << histogram.SCALE
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

_DURATION = "http_server_request_duration_seconds"
_REQUESTS = "http_server_requests_total"


def to_json(document: wire.MetricsDocument) -> bytes:
    """The metrics document, ready to be sent."""
    return json.dumps(wire.dump(document), separators=(",", ":"), ensure_ascii=False).encode()


def to_prometheus(document: wire.MetricsDocument) -> bytes:
    """The same numbers in Prometheus' text format."""
    return "".join(_lines(document)).encode()


def _lines(document: wire.MetricsDocument) -> Iterator[str]:
    labelled = [(_labels(endpoint), endpoint) for endpoint in document.endpoints.values()]
    yield f"# HELP {_DURATION} Time from a request to its response.\n# TYPE {_DURATION} histogram\n"
    for labels, endpoint in labelled:
        yield from _histogram_lines(labels, endpoint)
    yield f"# HELP {_REQUESTS} Requests by the status code of their response.\n# TYPE {_REQUESTS} counter\n"
    for labels, endpoint in labelled:
        for code, count in endpoint.status_codes.items():
            yield f'{_REQUESTS}{{{labels},http_response_status_code="{code:03d}"}} {count}\n'
    for name, text, value in (
        ("http_server_active_requests", "Requests that are being worked on.", document.active_requests),
        ("monitoring_workers", "Worker processes that were counted.", document.workers),
        ("monitoring_dropped_series", "Endpoints beyond the maximum, counted together.", document.dropped_series),
        ("monitoring_start_time_seconds", "When counting began, in seconds since the epoch.", document.started_at),
    ):
        if value is not None:
            yield f"# HELP {name} {text}\n# TYPE {name} gauge\n{name} {value!r}\n"


def _histogram_lines(labels: str, endpoint: wire.EndpointMetrics) -> Iterator[str]:
    for bound, count in zip(_BOUNDS, _cumulative(endpoint.buckets or {}), strict=True):
        yield f'{_DURATION}_bucket{{{labels},le="{bound}"}} {count}\n'
    # What fell into the buckets and not `count`: Prometheus wants the two to be equal, also in the middle of an increment.
    total = sum((endpoint.buckets or {}).values())
    yield f'{_DURATION}_bucket{{{labels},le="+Inf"}} {total}\n'
    yield f"{_DURATION}_sum{{{labels}}} {endpoint.duration_sum!r}\n{_DURATION}_count{{{labels}}} {total}\n"


_BOUNDS = tuple(repr(2.0**exponent) for exponent in _EXPONENTS)


def _cumulative(buckets: Mapping[int, int]) -> list[int]:
    """How many requests took up to each bound: bucket i ends at 2**((i+1)/4), so 2**e is the end of bucket 4*e - 1."""
    counts = []
    for exponent in _EXPONENTS:
        last = _BUCKETS_A_BOUND * exponent - 1
        counts.append(sum(count for index, count in buckets.items() if index <= last))
    return counts


def _labels(endpoint: wire.EndpointMetrics) -> str:
    return f'http_request_method="{endpoint.method}",http_route="{endpoint.route.translate(_ESCAPES)}"'
