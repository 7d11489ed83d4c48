"""Spans and the current span. Ids are W3C's: 32 and 16 lowercase hex digits, never zero."""

from __future__ import annotations

import os
import random
from contextvars import ContextVar, Token
from dataclasses import dataclass

# Not the module's shared generator: an application that seeds it would repeat ids. Not a secret either, so no os.urandom.
_random = random.Random()  # noqa: S311
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


@dataclass(slots=True)
class Span:
    """The span of an incoming request: one service's part of a trace."""

    trace_id: str
    span_id: str
    parent_span_id: str = ""
    """Of the caller's span, in W3C's form; empty at the root of a trace."""
    sampled: bool = True
    tracestate: str = ""
    trace_id_as_received: str = ""
    """The spelling in which the trace id arrived (a Gin service sends UUIDs); X-headers and log lines keep it."""
    parent_as_logged: str = ""
    """The caller's request span in the spelling in which it arrived in X-Span-ID; empty where none did."""
    propagate_to: tuple[str, ...] | None = None
    """Hosts that calls may carry the trace to, ".example.com" with its subdomains; None is all."""

    @property
    def trace_id_spelled(self) -> str:
        return self.trace_id_as_received or self.trace_id

    @property
    def parent_spelled(self) -> str:
        return self.parent_as_logged or self.parent_span_id


_current: ContextVar[Span | None] = ContextVar("monitoring_current_span", default=None)


def current_span() -> Span | None:
    """The span that is being worked on in this thread or task; None outside a request."""
    return _current.get()


def make_current(span: Span) -> Token[Span | None]:
    """Make a span current; hand the token to `restore()` when it ends."""
    return _current.set(span)


def restore(token: Token[Span | None]) -> None:
    _current.reset(token)


def new_trace_id() -> str:
    return f"{_random.getrandbits(128) or 1:032x}"


def new_span_id() -> str:
    return f"{_random.getrandbits(64) or 1:016x}"
