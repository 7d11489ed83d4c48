"""A trace in OpenTelemetry's JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding), which collectors read."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterable
from typing import Any

from monitoring.instrument.spans import Event, RequestSpan, Span
from monitoring.instrument.texts import Attributes, Value

_KINDS = {"internal": 1, "server": 2, "client": 3}
_ERROR = 2

# The upper bits of a span's flags say that it is known whether its parent is in another process, and that it is.
_KNOWN_REMOTE = 0x100
_IS_REMOTE = 0x200


def document(service_name: str, spans: Iterable[Span]) -> dict[str, Any]:
    """`TracesData`: spans of one service, as what a POST to /v1/traces or a line of a file of traces carries."""
    resource: dict[str, Value] = {"service.name": service_name, "host.name": socket.gethostname(), "process.pid": os.getpid()}
    scope = {"name": "monitoring"}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [{"scope": scope, "spans": [_span(span) for span in spans]}],
            }
        ]
    }


def _span(span: Span) -> dict[str, Any]:
    request = span.request
    flags = request.sampled | request.random << 1 | _KNOWN_REMOTE
    if isinstance(span, RequestSpan) and span.parent_span_id:
        flags |= _IS_REMOTE
    found: dict[str, Any] = {
        "traceId": request.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": _KINDS[span.kind],
        "startTimeUnixNano": str(_nanoseconds(request, span.started)),
        "endTimeUnixNano": str(_nanoseconds(request, span.started if span.ended is None else span.ended)),
        "flags": flags,
        "attributes": _attributes(span.attributes or {}),
        "status": {} if span.error is None else {"code": _ERROR},
    }
    if span.parent_span_id:
        found["parentSpanId"] = span.parent_span_id
    if request.tracestate:
        found["traceState"] = request.tracestate
    if span.events:
        found["events"] = [_event(request, event) for event in span.events]
    if span.dropped_attributes:
        found["droppedAttributesCount"] = span.dropped_attributes
    if span.dropped_events:
        found["droppedEventsCount"] = span.dropped_events
    return found


def _event(request: RequestSpan, event: Event) -> dict[str, Any]:
    return {
        "timeUnixNano": str(_nanoseconds(request, event.moment)),
        "name": event.name,
        "attributes": _attributes(event.attributes),
    }


def _nanoseconds(request: RequestSpan, moment: float) -> int:
    """Since the epoch, of a moment by time.perf_counter(): by the wall clock when the request began, and exact from there."""
    return round(request.started_at * 1e6) * 1000 + round((moment - request.started) * 1e9)


def _attributes(attributes: Attributes) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: Value) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        if math.isfinite(value):
            return {"doubleValue": value}
        return {"doubleValue": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    return {"arrayValue": {"values": [_value(item) for item in value]}}
