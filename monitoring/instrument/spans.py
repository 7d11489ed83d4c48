"""Spans: what one is, and what a request keeps of those within it. Ids are W3C's: 32 and 16 lowercase hex digits, never zero.

A request has one RequestSpan; what happens within it are Spans that refer to it. Only where spans are exported, and the trace is
sampled, does a request keep the spans within it (`RequestSpan.children`).
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from monitoring.instrument.texts import Attributes, Value, bounded, exception_attributes, plain, type_name

MAX_SPANS = 256
"""Of one request; and how many attributes and events one span has."""
MAX_ATTRIBUTES = 64
MAX_EVENTS = 64
MAX_CHARACTERS = 256 * 1024
"""Of all texts that the spans of one request keep. What does not fit is counted as dropped."""

# Not the module's shared generator: an application that seeds it would repeat ids. Not a secret either, so no os.urandom.
_random = random.Random()  # noqa: S311
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


@dataclass(frozen=True)
class Options:
    """How this service traces."""

    service_name: str = ""
    trust_incoming: bool = True
    sample_rate: float = 1.0
    """The share of new traces that are sampled."""
    slow_seconds: float | None = None
    """A request that takes longer keeps its request span, sampled or not."""
    propagate_to: tuple[str, ...] | None = None
    """Hosts that calls may carry the trace to, ".example.com" with its subdomains; None is all."""
    capture_sql: bool = True
    capture_logs: int | None = logging.WARNING
    """From which level on log records become events; None is none."""
    exports: bool = False
    """Whether anybody wants the spans."""


@dataclass(frozen=True)
class Event:
    """Something that happened during a span, at a moment by time.perf_counter()."""

    name: str
    moment: float
    attributes: Attributes


class Span:
    """One timed operation. `name`, `kind`, attributes, events and status are OpenTelemetry's."""

    kind = "internal"
    """ "server", "client" or "internal"."""
    ended: float | None = None
    """By time.perf_counter(), as `started`; None while it runs."""
    attributes: dict[str, Value] | None = None
    events: list[Event] | None = None
    error: str | None = None
    """What error.type says: an exception's type or a status code; None where it did not fail."""
    dropped_attributes = 0
    dropped_events = 0

    def __init__(self, request: RequestSpan, name: str, parent_span_id: str) -> None:
        self._request = request
        self.name = name
        self.span_id = new_span_id()
        self.parent_span_id = parent_span_id
        self.started = time.perf_counter()

    @property
    def request(self) -> RequestSpan:
        """The request within which it is; of a request span, itself."""
        return self._request

    @property
    def trace_id(self) -> str:
        return self._request.trace_id

    @property
    def sampled(self) -> bool:
        return self._request.sampled

    @property
    def is_recording(self) -> bool:
        """Whether attributes and events are kept."""
        return self.request.children is not None and self.request.ended is None

    @property
    def duration(self) -> float:
        """Seconds; of a span that still runs, until now."""
        return (time.perf_counter() if self.ended is None else self.ended) - self.started

    def set_attribute(self, name: str, value: object) -> None:
        """Values are strings, numbers, booleans, or lists of those; anything else is kept as its string. All are bounded."""
        if not self.is_recording:
            return
        attributes = self.attributes
        if attributes is None:
            attributes = self.attributes = {}
        name, kept = bounded(str(name), 128), plain(value)
        if (len(attributes) >= MAX_ATTRIBUTES and name not in attributes) or not self.request.has_room(name, kept):
            self.dropped_attributes += 1
        else:
            attributes[name] = kept

    def add_event(self, name: str, **attributes: object) -> None:
        self.keep_event(name, {key: plain(value) for key, value in attributes.items()})

    def keep_event(self, name: str, attributes: Attributes) -> None:
        """An event whose attributes are plain and bounded already."""
        # Of a request that is not sampled nothing but its request span is kept, if anything.
        span = self if self.request.children is not None else self.request
        if not span.is_recording:
            return
        events = span.events
        if events is None:
            events = span.events = []
        if len(events) >= MAX_EVENTS or not self.request.has_room(*attributes.values()):
            span.dropped_events += 1
        else:
            events.append(Event(bounded(name, 128), time.perf_counter(), attributes))

    def record_exception(self, error: BaseException) -> None:
        """The span failed with this exception: its type, message and stack trace become an event."""
        self.error = type_name(type(error))
        if self.is_recording:  # else it is an event of the request span, if nobody handles it
            self.keep_event("exception", exception_attributes(error))

    def set_error(self, error_type: str) -> None:
        """The span failed; the type is an exception's name or a status code."""
        self.error = error_type

    def end(self) -> None:
        if self.ended is None and self.request.ended is None:
            self.ended = time.perf_counter()


class SpanToBe(Protocol):
    """What a span is made of when it is exported."""

    def span(self, request: RequestSpan) -> Span: ...


class RequestSpan(Span):
    """The span of an incoming request: one service's part of a trace."""

    kind = "server"
    name = ""
    parent_span_id = ""
    """Of the caller's span, in W3C's form; empty at the root of a trace."""
    sampled = True
    random = True
    """Whether the trace id is known to be random in its last 56 bits (Trace Context Level 2)."""
    tracestate = ""
    trace_id = ""
    trace_id_as_received = ""
    """The spelling in which the trace id arrived (a Gin service sends UUIDs); X-headers and log lines keep it."""
    parent_as_logged = ""
    """The caller's request span in the spelling in which it arrived in X-Span-ID; empty where none did."""
    started = 0.0
    started_at = 0.0
    """Seconds since the epoch at `started`."""
    children: list[Span | SpanToBe] | None = None
    """The spans within it; None where they are not kept."""
    queries: dict[Hashable, Any]
    """Of database.py: which queries were made how often. There where `children` is."""
    dropped_spans = 0
    characters = 0
    """Of all texts that it and its children keep."""

    def __init__(self, trace_id: str, span_id: str, options: Options = Options()) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.options = options

    @property
    def request(self) -> RequestSpan:  # not kept in itself: such a cycle would wait for the garbage collector
        return self

    @property
    def is_recording(self) -> bool:
        return self.options.exports and self.ended is None

    @property
    def trace_id_spelled(self) -> str:
        return self.trace_id_as_received or self.trace_id

    @property
    def parent_spelled(self) -> str:
        return self.parent_as_logged or self.parent_span_id

    def keep_children(self) -> None:
        self.children = []
        self.queries = {}

    def keep(self, child: Span | SpanToBe) -> bool:
        """Keep a span that began within this request; False where it is one too many."""
        children = self.children
        if children is None or self.ended is not None:
            return False
        if len(children) >= MAX_SPANS:
            self.dropped_spans += 1
            return False
        children.append(child)
        return True

    def has_room(self, *texts: object) -> bool:
        """Count these texts in; False where they are too much for one request."""
        characters = self.characters + sum(len(text) for text in texts if isinstance(text, str))
        if characters > MAX_CHARACTERS:
            return False
        self.characters = characters
        return True


def new_trace_id() -> str:
    return (_random.getrandbits(128) or 1).to_bytes(16, "big").hex()  # half the time of formatting it


def new_span_id() -> str:
    return (_random.getrandbits(64) or 1).to_bytes(8, "big").hex()


def is_sampled(trace_id: str, rate: float) -> bool:
    """Whether a trace belongs to this share of all, by its last 56 bits: services decide alike, whoever made the id.

    A larger share includes a smaller one (https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/).
    """
    return rate >= 1 or int(trace_id[-14:], 16) >= (1 - rate) * 2**56
