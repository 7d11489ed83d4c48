"""A trace in OpenTelemetry's JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding), which collectors read.

It is written directly: by way of dicts and json.dumps() it takes four times as long, and that in the service's own process.
"""

from __future__ import annotations

import functools
import math
import os
import socket
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii as quoted

from monitoring.instrument.spans import Event, RequestSpan, Span
from monitoring.instrument.texts import Attributes, Value

_KINDS = {"internal": 1, "server": 2, "client": 3}
_ERROR = '"code":2'

# The upper bits of a span's flags say that it is known whether its parent is in another process, and that it is.
_KNOWN_REMOTE = 0x100
_IS_REMOTE = 0x200


def encode(service_name: str, spans: Iterable[Span]) -> str:
    """`TracesData`, on one line: spans of one service, as what a POST to /v1/traces or a line of a file of traces carries."""
    return (
        f'{{"resourceSpans":[{{"resource":{{"attributes":{_resource(service_name, os.getpid())}}},'
        f'"scopeSpans":[{{"scope":{{"name":"monitoring"}},"spans":[{",".join(map(_span, spans))}]}}]}}]}}'
    )


@functools.lru_cache(8)
def _resource(service_name: str, pid: int) -> str:
    return _attributes({"service.name": service_name, "host.name": socket.gethostname(), "process.pid": pid})


def _span(span: Span) -> str:
    request = span.request
    flags = request.sampled | request.random << 1 | _KNOWN_REMOTE
    more = ""
    if span.parent_span_id:
        more = f',"parentSpanId":"{span.parent_span_id}"'
        if span is request:
            flags |= _IS_REMOTE
    if request.tracestate:
        more += f',"traceState":{quoted(request.tracestate)}'
    if span.events:
        more += f',"events":[{",".join([_event(request, event) for event in span.events])}]'
    if span.dropped_attributes:
        more += f',"droppedAttributesCount":{span.dropped_attributes}'
    if span.dropped_events:
        more += f',"droppedEventsCount":{span.dropped_events}'
    ended = span.started if span.ended is None else span.ended
    return (
        f'{{"traceId":"{request.trace_id}","spanId":"{span.span_id}","name":{quoted(span.name)},"kind":{_KINDS[span.kind]},'
        f'"startTimeUnixNano":"{_nanoseconds(request, span.started)}","endTimeUnixNano":"{_nanoseconds(request, ended)}",'
        f'"flags":{flags},"attributes":{_attributes(span.attributes or {})},'
        f'"status":{{{"" if span.error is None else _ERROR}}}{more}}}'
    )


def _event(request: RequestSpan, event: Event) -> str:
    return (
        f'{{"timeUnixNano":"{_nanoseconds(request, event.moment)}","name":{quoted(event.name)},'
        f'"attributes":{_attributes(event.attributes)}}}'
    )


def _nanoseconds(request: RequestSpan, moment: float) -> int:
    """Since the epoch, of a moment by time.perf_counter(): by the wall clock when the request began, and exact from there."""
    return round(request.started_at * 1e6) * 1000 + round((moment - request.started) * 1e9)


def _attributes(attributes: Attributes) -> str:
    return "[" + ",".join([f'{{"key":{quoted(name)},"value":{_value(value)}}}' for name, value in attributes.items()]) + "]"


def _value(value: Value) -> str:
    if isinstance(value, str):
        return f'{{"stringValue":{quoted(value)}}}'
    if isinstance(value, bool):
        return '{"boolValue":true}' if value else '{"boolValue":false}'
    if isinstance(value, int):
        return f'{{"intValue":"{value}"}}'
    if isinstance(value, float):
        if math.isfinite(value):
            return f'{{"doubleValue":{value!r}}}'
        return '{"doubleValue":"NaN"}' if math.isnan(value) else f'{{"doubleValue":"{"-" if value < 0 else ""}Infinity"}}'
    return f'{{"arrayValue":{{"values":[{",".join(map(_value, value))}]}}}}'
