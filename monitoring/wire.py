"""The metrics document: what an instance serves at /metrics and a collector reads.

Both ends use this module, so the format is described once (docs/architecture.md, "Metrics document"). `service_name`,
`metrics`, and in each endpoint `count`, `avg_duration` and `status_codes` are the Gin service's document and all that a reader
may rely on; everything else is optional.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monitoring import histogram
from monitoring import wire_values as values
from monitoring.wire_values import DocumentError as DocumentError

SCHEMA_VERSION = 1

STANDARD_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"})
OTHER_METHOD = "_OTHER"
"""What stands for a method outside the standard ones, as in OpenTelemetry's `http.request.method`."""

UNKNOWN_ROUTE = "/unknown"
"""What stands for the path of a request that matches no route."""

OVERFLOW_ROUTE = "/_other"
"""With OTHER_METHOD, what stands for all endpoints beyond as many as are kept."""

MAX_ROUTE_LENGTH = 400
"""Bytes of a route, in UTF-8, that are kept; a longer one ends in a hash of the whole, so that it stays distinct."""

MAX_NAME_LENGTH = 200
"""Characters that a service name may have."""

MAX_ENDPOINTS = 10_000
"""Endpoints of a document that are read; so many are a service whose routes hold ids or names."""

_BEGINNING = re.compile(r'\s*\{(?:\s*"service_name"\s*:\s*"([^"\\]*)"\s*,)?\s*"metrics"\s*:\s*\{|\s*\{')
_COLON = re.compile(r"\s*:\s*")
_COMMA = re.compile(r"\s*,\s*")
_SPACE = re.compile(r"\s*")


@dataclass(slots=True)
class EndpointMetrics:
    """Counters of one method + route, cumulative since the document's `started_at`. Durations in seconds."""

    method: str
    route: str
    count: int = 0
    duration_sum: float = 0.0
    duration_max: float | None = None
    status_codes: dict[int, int] = field(default_factory=dict)
    buckets: dict[int, int] | None = None
    """`{bucket index: count}` at histogram.SCALE; None where the service does not report a histogram."""
    stream_count: int = 0
    """Streamed responses that have ended."""
    stream_duration_sum: float = 0.0
    """From the request to the end of the stream; `duration_sum` has the time to the response."""
    stream_duration_max: float = 0.0

    @property
    def key(self) -> str:
        return self.method + self.route


@dataclass(slots=True)
class MetricsDocument:
    """All counters of one instance at one moment, by endpoint key."""

    service_name: str | None
    endpoints: dict[str, EndpointMetrics]
    started_at: float | None = None
    """When counting began, in seconds since the epoch; a change tells of a restart."""
    workers: int | None = None
    active_requests: int | None = None
    dropped_series: int | None = None
    warning: str | None = None
    """What is wrong with the counting itself: that other workers' counts are missing, say."""
    truncated: bool = False
    """The document has more than MAX_ENDPOINTS endpoints, or its end was not read: these are the first ones."""


def bounded_route(route: str) -> str:
    """The route in a form that every store can hold: one line of at most MAX_ROUTE_LENGTH bytes in UTF-8."""
    if route.isascii() and route.isprintable() and len(route) <= MAX_ROUTE_LENGTH:
        return route
    route = values.UNPRINTABLE.sub("\ufffd", route)
    encoded = route.encode()
    if len(encoded) <= MAX_ROUTE_LENGTH:
        return route
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return encoded[: MAX_ROUTE_LENGTH - len(digest) - 1].decode(errors="ignore") + "~" + digest


def dump(document: MetricsDocument) -> dict[str, Any]:
    """The document as JSON-ready values, the Gin service's keys first."""
    fields: dict[str, Any] = {
        "service_name": document.service_name or "",
        "metrics": {key: _dump_endpoint(endpoint) for key, endpoint in document.endpoints.items()},
        "schema_version": SCHEMA_VERSION,
        "histogram_scale": histogram.SCALE,
    }
    for name in ("started_at", "workers", "active_requests", "dropped_series", "warning"):
        value = getattr(document, name)
        if value is not None:
            fields[name] = value
    if document.truncated:
        fields["truncated"] = True
    return fields


def _dump_endpoint(endpoint: EndpointMetrics) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "count": endpoint.count,
        "avg_duration": endpoint.duration_sum / endpoint.count if endpoint.count else 0.0,
        "status_codes": {f"{code:03d}": count for code, count in endpoint.status_codes.items()},
        "method": endpoint.method,
        "route": endpoint.route,
        "duration_sum": endpoint.duration_sum,
    }
    if endpoint.duration_max is not None:
        fields["duration_max"] = endpoint.duration_max
    if endpoint.buckets is not None:
        fields["buckets"] = {str(index): count for index, count in endpoint.buckets.items()}
    if endpoint.stream_count:
        fields["stream_count"] = endpoint.stream_count
        fields["stream_duration_sum"] = endpoint.stream_duration_sum
        fields["stream_duration_max"] = endpoint.stream_duration_max
    return fields


def parse(payload: bytes | bytearray | str, seconds_per_unit: float = 1.0) -> MetricsDocument:
    """Read a metrics document, with or without the envelope. Raises DocumentError.

    `seconds_per_unit` is 0.001 for a service that reports milliseconds; its histogram, if it has one, cannot be converted exactly
    and is left out.
    """
    try:
        root = json.loads(payload, parse_constant=values.refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"not a JSON document ({error})") from None
    if not isinstance(root, dict):
        raise DocumentError(f"the document is {values.kind(root)}, not an object")
    enveloped = "metrics" in root
    metrics = root["metrics"] if enveloped else root
    envelope: dict[str, Any] = root if enveloped else {}
    if metrics is None:  # Go writes a nil map as null: nothing counted yet
        metrics = {}
    if not isinstance(metrics, dict):
        raise DocumentError(f'"metrics" is {values.kind(metrics)}, not an object')
    scale = envelope.get("histogram_scale")
    if scale is not None and type(scale) is not int:
        raise DocumentError(f'"histogram_scale" is {values.kind(scale)}, not a whole number')
    return MetricsDocument(
        service_name=_optional_text(envelope, "service_name"),
        endpoints=_endpoints(metrics, seconds_per_unit, scale),
        started_at=_optional_number(envelope, "started_at"),
        workers=_optional_count(envelope, "workers"),
        active_requests=_optional_count(envelope, "active_requests"),
        dropped_series=_optional_count(envelope, "dropped_series"),
        warning=_optional_text(envelope, "warning"),
        truncated=len(metrics) > MAX_ENDPOINTS or envelope.get("truncated") is True,
    )


def parse_beginning(payload: bytes | bytearray, seconds_per_unit: float = 1.0) -> MetricsDocument:
    """The first endpoints of a document whose end was not read; what follows the endpoints is unknown. Raises DocumentError."""
    text = payload.decode("utf-8", "replace")
    start = _BEGINNING.match(text)
    if start is None:
        raise DocumentError("the document is not an object")
    decoder = json.JSONDecoder(parse_constant=values.refuse_constant)
    metrics: dict[str, Any] = {}
    separator = _SPACE.match(text, start.end())
    while separator is not None and len(metrics) < MAX_ENDPOINTS:
        try:
            key, end = decoder.raw_decode(text, separator.end())
            colon = _COLON.match(text, end)
            if colon is None or not isinstance(key, str):
                break
            metrics[key], end = decoder.raw_decode(text, colon.end())
        except (ValueError, RecursionError):  # the end of what was read, most likely
            break
        separator = _COMMA.match(text, end)
    if not metrics:
        raise DocumentError("the document does not begin with an endpoint")
    name = _optional_text({"service_name": start[1]}, "service_name")
    return MetricsDocument(name, _endpoints(metrics, seconds_per_unit, None), truncated=True)


def _endpoints(metrics: Mapping[str, Any], seconds_per_unit: float, scale: int | None) -> dict[str, EndpointMetrics]:
    endpoints: dict[str, EndpointMetrics] = {}
    for key, value in itertools.islice(metrics.items(), MAX_ENDPOINTS):
        endpoint = _parse_endpoint(key, value, seconds_per_unit, scale)
        own_key = endpoint.method + endpoint.route
        twin = endpoints.get(own_key)
        endpoints[own_key] = endpoint if twin is None else add(twin, endpoint)
    return endpoints


def _parse_endpoint(key: str, value: Any, seconds_per_unit: float, scale: int | None) -> EndpointMetrics:
    if not isinstance(value, dict):
        raise DocumentError(f"endpoint {values.quote(key)} is {values.kind(value)}, not an object")
    try:
        count = values.count(value["count"], "count")
        average = values.number(value["avg_duration"], "avg_duration")
        codes = value["status_codes"]
        if not isinstance(codes, dict):
            raise DocumentError(f'"status_codes" is {values.kind(codes)}, not an object')
        total = values.number(value["duration_sum"] if "duration_sum" in value else average * count, "duration_sum")
        longest = values.number(value["duration_max"], "duration_max") * seconds_per_unit if "duration_max" in value else None
        buckets = values.buckets(value["buckets"], scale) if "buckets" in value and seconds_per_unit == 1.0 else None
        method, route = _method_and_route(key, value)
        endpoint = EndpointMetrics(
            method if method in STANDARD_METHODS else OTHER_METHOD,
            bounded_route(route),
            count,
            total * seconds_per_unit,
            longest,
            {values.status_code(code): values.count(number, "status_codes", code) for code, number in codes.items()},
            buckets,
        )
        if "stream_count" in value:
            endpoint.stream_count = values.count(value["stream_count"], "stream_count")
            endpoint.stream_duration_sum = values.number(value["stream_duration_sum"], "stream_duration_sum") * seconds_per_unit
            endpoint.stream_duration_max = values.number(value["stream_duration_max"], "stream_duration_max") * seconds_per_unit
        return endpoint
    except KeyError as error:
        raise DocumentError(f'endpoint {values.quote(key)} has no "{error.args[0]}"') from None
    except DocumentError as error:
        raise DocumentError(f"endpoint {values.quote(key)}: {error}") from None


def _method_and_route(key: str, value: Mapping[str, Any]) -> tuple[str, str]:
    method, route = value.get("method"), value.get("route")
    if isinstance(method, str) and isinstance(route, str):
        return method, route
    if key.endswith("unknown") and "/" not in key:  # the Gin service's older form: GETunknown
        return key[: -len("unknown")], UNKNOWN_ROUTE
    method, slash, rest = key.partition("/")
    if not slash or not method:
        raise DocumentError('the key is not a method and a route such as "GET/process"')
    return method, slash + rest


def add(one: EndpointMetrics, other: EndpointMetrics) -> EndpointMetrics:
    maxima = [value for value in (one.duration_max, other.duration_max) if value is not None]
    codes = dict(one.status_codes)
    for code, count in other.status_codes.items():
        codes[code] = codes.get(code, 0) + count
    return EndpointMetrics(
        one.method,
        one.route,
        one.count + other.count,
        one.duration_sum + other.duration_sum,
        max(maxima, default=None),
        codes,
        histogram.merge((one.buckets, other.buckets)) if one.buckets and other.buckets else one.buckets or other.buckets,
        one.stream_count + other.stream_count,
        one.stream_duration_sum + other.stream_duration_sum,
        max(one.stream_duration_max, other.stream_duration_max),
    )


def _optional_count(envelope: Mapping[str, Any], name: str) -> int | None:
    value = envelope.get(name)
    return None if value is None else values.count(value, name)


def _optional_number(envelope: Mapping[str, Any], name: str) -> float | None:
    value = envelope.get(name)
    return None if value is None else values.number(value, name)


def _optional_text(envelope: Mapping[str, Any], name: str) -> str | None:
    value = envelope.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise DocumentError(f'"{name}" is {values.kind(value)}, not a string')
    return values.UNPRINTABLE.sub("\ufffd", value)[:MAX_NAME_LENGTH]
