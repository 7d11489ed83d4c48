"""Trace context in HTTP headers: W3C Trace Context Level 2 (https://www.w3.org/TR/trace-context-2/) and the Gin service's
X-Trace-ID and X-Span-ID. What is malformed counts as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from monitoring.instrument.tracing import Span, new_span_id, new_trace_id

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)
_X_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_X_SPAN_ID = re.compile(r"[0-9a-fA-F]{16}|" + _X_TRACE_ID.pattern)

_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MAX_MEMBERS = 32
_MAX_TRACESTATE = 4096  # 512 must be carried on at least; what is longer than this is not worth carrying

_SAMPLED = 0x01


TRACE_HEADERS = ("traceparent", "tracestate", "X-Trace-ID", "X-Span-ID")


def start_request_span(meta: Mapping[str, Any], trust_incoming: bool) -> Span:
    """The span of an incoming request, from its WSGI-style headers: the continuation of the caller's trace, or a new one."""
    if trust_incoming:
        traceparent = meta.get("HTTP_TRACEPARENT")
        if traceparent is not None:
            span = _from_traceparent(traceparent, meta)
            if span is not None:
                return span
        x_trace_id = meta.get("HTTP_X_TRACE_ID")
        if x_trace_id is not None:
            span = _from_x_headers(x_trace_id, meta.get("HTTP_X_SPAN_ID", ""))
            if span is not None:
                return span
    return Span(new_trace_id(), new_span_id())


def outgoing_headers(span: Span) -> dict[str, str]:
    """The headers that carry the trace on with a call made within this span.

    `traceparent` names a span of the call's own, the X-headers the request span: so spans link through the call, and log lines
    link request to request.
    """
    headers = {
        "traceparent": f"00-{span.trace_id}-{new_span_id()}-{'01' if span.sampled else '00'}",
        "X-Trace-ID": span.trace_id_spelled,
        "X-Span-ID": span.span_id,
    }
    if span.tracestate:
        headers["tracestate"] = span.tracestate
    return headers


def may_propagate(span: Span, host: str) -> bool:
    """Whether calls to this host may carry the trace: see Span.propagate_to."""
    if span.propagate_to is None:
        return True
    host = host.lower()
    return any(host == name.lstrip(".") or (name.startswith(".") and host.endswith(name)) for name in span.propagate_to)


def _from_traceparent(header: str, meta: Mapping[str, Any]) -> Span | None:
    match = _TRACEPARENT.fullmatch(header.strip(" \t"))
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if trace_id == "0" * 32 or parent_id == "0" * 16:
        return None
    span = Span(trace_id, new_span_id(), parent_id, sampled=bool(int(flags, 16) & _SAMPLED))
    tracestate = meta.get("HTTP_TRACESTATE")
    if tracestate:
        span.tracestate = _valid_tracestate(tracestate)
    x_trace_id = meta.get("HTTP_X_TRACE_ID", "")
    if x_trace_id and _X_TRACE_ID.fullmatch(x_trace_id) and _plain(x_trace_id) == trace_id:
        span.trace_id_as_received = x_trace_id
        x_span_id = meta.get("HTTP_X_SPAN_ID", "")
        if _X_SPAN_ID.fullmatch(x_span_id):
            span.parent_as_logged = x_span_id
    return span


def _from_x_headers(x_trace_id: str, x_span_id: str) -> Span | None:
    if not _X_TRACE_ID.fullmatch(x_trace_id):
        return None
    trace_id = _plain(x_trace_id)
    if trace_id == "0" * 32:
        return None
    span = Span(trace_id, new_span_id(), trace_id_as_received=x_trace_id)
    if _X_SPAN_ID.fullmatch(x_span_id):
        parent_id = _plain(x_span_id)[:16]
        if parent_id != "0" * 16:
            span.parent_span_id, span.parent_as_logged = parent_id, x_span_id
    return span


def _plain(identifier: str) -> str:
    return identifier.replace("-", "").lower()


def _valid_tracestate(header: str) -> str:
    """The list as it is carried on, empty members dropped; nothing where one member is malformed or a key is repeated."""
    if len(header) > _MAX_TRACESTATE:
        return ""
    members = [member.strip(" \t") for member in header.split(",")]
    members = [member for member in members if member]
    keys = {member.partition("=")[0] for member in members}
    if len(members) > _MAX_MEMBERS or len(keys) != len(members):
        return ""
    return ",".join(members) if all(_MEMBER.fullmatch(member) for member in members) else ""
