"""Trace context in HTTP headers: W3C Trace Context Level 2 (https://www.w3.org/TR/trace-context-2/) and the Gin service's
X-Trace-ID and X-Span-ID. What is malformed counts as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from monitoring.instrument.spans import Options, RequestSpan, Span, is_sampled, new_span_id, new_trace_id

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)
_X_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_X_SPAN_ID = re.compile(r"[0-9a-fA-F]{16}|" + _X_TRACE_ID.pattern)

_MEMBER = re.compile(r"([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_MAX_MEMBERS = 32
_MAX_TRACESTATE = 4_096  # is carried on, of the 512 and more that should be
_MAX_TRACESTATE_READ = 32 * 1024  # 32 members of the greatest length, and white space
_LONG_MEMBER = 128

_SAMPLED = 0x01
_RANDOM = 0x02
_FLAGS = {(False, False): "00", (True, False): "01", (False, True): "02", (True, True): "03"}

TRACE_HEADERS = ("traceparent", "tracestate", "X-Trace-ID", "X-Span-ID")


def start_request_span(meta: Mapping[str, Any], options: Options) -> RequestSpan:
    """The span of an incoming request, from its WSGI-style headers: the continuation of the caller's trace, or a new one."""
    if options.trust_incoming:
        if "HTTP_TRACEPARENT" in meta:
            span = _from_traceparent(meta["HTTP_TRACEPARENT"], meta, options)
            if span is not None:
                return span
        if "HTTP_X_TRACE_ID" in meta:
            span = _from_x_headers(meta["HTTP_X_TRACE_ID"], meta.get("HTTP_X_SPAN_ID", ""), options)
            if span is not None:
                return span
    return new_trace(options)


def new_trace(options: Options) -> RequestSpan:
    """A request span at the root of a trace; here it is decided whether the trace is sampled."""
    span = RequestSpan(new_trace_id(), new_span_id(), options)
    if options.sample_rate < 1:
        span.sampled = is_sampled(span.trace_id, options.sample_rate)
    return span


def outgoing_headers(span: Span) -> dict[str, str]:
    """The headers that carry the trace on from this span: of a call, best the call's own.

    `traceparent` names this span, the X-headers its request span: so spans link through the call, log lines request to request.
    """
    request = span.request
    headers = {
        "traceparent": f"00-{request.trace_id}-{span.span_id}-{_FLAGS[request.sampled, request.random]}",
        "X-Trace-ID": request.trace_id_spelled,
        "X-Span-ID": request.span_id,
    }
    if request.tracestate:
        headers["tracestate"] = request.tracestate
    return headers


def may_propagate(span: Span, host: str) -> bool:
    """Whether calls to this host may carry the trace: see Options.propagate_to."""
    names = span.request.options.propagate_to
    if names is None:
        return True
    host = host.lower()
    return any(host == name.lstrip(".") or (name.startswith(".") and host.endswith(name)) for name in names)


def _from_traceparent(header: str, meta: Mapping[str, Any], options: Options) -> RequestSpan | None:
    match = _TRACEPARENT.fullmatch(header.strip(" \t"))
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if trace_id == "0" * 32 or parent_id == "0" * 16:
        return None
    span = RequestSpan(trace_id, new_span_id(), options)
    span.parent_span_id = parent_id
    bits = int(flags, 16)
    span.sampled, span.random = bool(bits & _SAMPLED), bool(bits & _RANDOM)
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


def _from_x_headers(x_trace_id: str, x_span_id: str, options: Options) -> RequestSpan | None:
    """The caller says nothing about sampling: all services decide alike, by the trace id."""
    if not _X_TRACE_ID.fullmatch(x_trace_id):
        return None
    trace_id = _plain(x_trace_id)
    if trace_id == "0" * 32:
        return None
    span = RequestSpan(trace_id, new_span_id(), options)
    span.trace_id_as_received = x_trace_id
    span.random = False  # as far as one can know
    span.sampled = is_sampled(trace_id, options.sample_rate)
    if _X_SPAN_ID.fullmatch(x_span_id):
        parent_id = _plain(x_span_id)[:16]
        if parent_id != "0" * 16:
            span.parent_span_id, span.parent_as_logged = parent_id, x_span_id
    return span


def _plain(identifier: str) -> str:
    return identifier.replace("-", "").lower()


def _valid_tracestate(header: str) -> str:
    """The list as it is carried on: without empty members and, of a key that is repeated, all but the first and so newest.

    Nothing where a member is malformed or there are too many. Too long a list loses members as the specification says: those over
    128 characters first, then from the end.
    """
    if len(header) > _MAX_TRACESTATE_READ:
        return ""
    members: dict[str, str] = {}
    for member in header.split(","):
        member = member.strip(" \t")
        if not member:
            continue
        match = _MEMBER.fullmatch(member)
        if match is None:
            return ""
        members.setdefault(match[1], member)
    if len(members) > _MAX_MEMBERS:
        return ""
    kept = list(members.values())
    if len(",".join(kept)) > _MAX_TRACESTATE:
        kept = [member for member in kept if len(member) <= _LONG_MEMBER]
        while len(",".join(kept)) > _MAX_TRACESTATE:
            kept.pop()
    return ",".join(kept)
