"""The lines of a trace as a tree of its requests. Pure.

A line names its request's span and that of the request that called it (docs/architecture.md, "Trace headers"). It is written when
the request has ended, by the clock of its own machine, in text to the whole second. No more is told, so no more is drawn: bars
are placed in time only where every stamp is finer than a second and the clocks agree.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from monitoring.dashboard.tracesearch import FAILED
from monitoring.tracelines import TraceLine, plain_id

_SHORT = 16  # digits of a W3C span id: by so many a UUID is known to services that speak W3C alone
_LEAST_WIDTH = 0.4  # of a bar, so that it is seen


class Place(enum.Enum):
    """How a request stands in the tree."""

    ROOT = "root"
    CHILD = "child"
    ORPHAN = "orphan"
    """Its line names a caller of which there is no line."""
    CIRCULAR = "circular"
    """It is its own caller, at once or through others."""


@dataclass(slots=True, eq=False)
class Span:
    """One request of the trace."""

    line: TraceLine
    place: Place = Place.CHILD
    depth: int = 0
    caller: Span | None = None
    calls: list[Span] = field(default_factory=list)
    failed: bool = False
    is_origin: bool = False
    """Whether it failed, and nothing that it called did."""
    slow: bool = False
    left: float = 0.0
    width: float = 0.0
    """Of its bar, in percent of the room."""

    @property
    def steps(self) -> range:
        """For each level of indentation; deeper ones are not indented further."""
        return range(min(self.depth, 12))


@dataclass(frozen=True, slots=True)
class Trace:
    """The requests of a trace in the order in which they are shown: each before those that it called."""

    spans: tuple[Span, ...]
    duplicates: int
    """Lines that were there before, word for word, and are left out."""
    is_placed: bool
    """Whether bars stand where they were in time."""

    @property
    def roots(self) -> list[Span]:
        return [span for span in self.spans if span.place is not Place.CHILD]

    @property
    def origins(self) -> list[Span]:
        return [span for span in self.spans if span.is_origin]

    @property
    def failed(self) -> int:
        return sum(span.failed for span in self.spans)

    @property
    def slow(self) -> int:
        return sum(span.slow for span in self.spans)

    @property
    def detached(self) -> int:
        """How many have a caller that is not among these."""
        return sum(span.place is Place.ORPHAN for span in self.spans)

    @property
    def services(self) -> int:
        return len({span.line.service_name for span in self.spans})

    @property
    def first(self) -> Span:
        """The request with which the trace began, as far as is known: one without a caller, else the longest that is on top."""
        return min(self.roots, key=lambda span: (span.place is not Place.ROOT, -span.line.duration))

    @property
    def headline(self) -> str:
        """How it went, in a few words."""
        if self.origins:
            names = list(dict.fromkeys(span.line.service_name for span in self.origins))
            return f"Failed in {names[0]}" if len(names) == 1 else f"Failed in {len(names)} services"
        return "Slow" if self.slow else "No request failed"

    @property
    def condition(self) -> str:
        """As the style sheet names it."""
        if self.failed:
            return "down"
        return "warning" if self.slow or self.detached else "up"


def build(lines: Iterable[TraceLine], slow_seconds: float) -> Trace | None:
    """The tree of these lines, which are of one trace; None without a line. A longer duration than `slow_seconds` is slow."""
    given = list(lines)
    spans = [Span(line) for line in sorted(dict.fromkeys(given), key=_order)]
    if not spans:
        return None
    shown = _in_order(spans, _called_by_nobody(spans))
    for span in shown:
        span.failed = span.line.status >= FAILED
        span.slow = span.line.duration > slow_seconds
    failed_below: set[int] = set()
    for span in reversed(shown):  # those that were called before their callers
        below = any(id(call) in failed_below for call in span.calls)
        span.is_origin = span.failed and not below
        if span.failed or below:
            failed_below.add(id(span))
    return Trace(tuple(shown), len(given) - len(spans), _draw_bars(shown))


def _order(line: TraceLine) -> tuple[float, str, str]:
    began = line.moment - line.duration if line.moment % 1 else line.moment
    return began, line.service_name, line.path


def _called_by_nobody(spans: Sequence[Span]) -> list[Span]:
    """Hangs each span below its caller, and gives those that have none."""
    by_id: dict[str, Span] = {}
    for span in spans:
        by_id.setdefault(plain_id(span.line.span_id), span)
    for span in spans:
        by_id.setdefault(plain_id(span.line.span_id)[:_SHORT], span)
    top = []
    for span in spans:
        named = plain_id(span.line.parent_span_id)
        span.caller = by_id.get(named) if named.strip("0") else None
        if span.caller is not None and span.caller is not span:
            span.caller.calls.append(span)
            continue
        if span.caller is span:
            span.place = Place.CIRCULAR
        else:
            span.place = Place.ORPHAN if named.strip("0") else Place.ROOT
        top.append(span)
    return top


def _in_order(spans: Sequence[Span], top: Sequence[Span]) -> list[Span]:
    """All spans, each before those it called. Of those that call each other in a circle, one stands on top."""
    shown: list[Span] = []
    seen: set[int] = set()
    for span in (*top, *spans):
        if id(span) in seen:
            continue
        start = span if span.place is not Place.CHILD else _in_circle(span)
        waiting = [(start, 0)]
        while waiting:  # not by recursion: a chain may be a thousand long
            span, depth = waiting.pop()
            seen.add(id(span))
            shown.append(span)
            span.depth = depth
            span.calls = [call for call in span.calls if id(call) not in seen]
            waiting.extend((call, depth + 1) for call in reversed(span.calls))
    return shown


def _in_circle(span: Span) -> Span:
    """A span of the circle that one comes to from this one, from caller to caller."""
    passed: set[int] = set()
    while id(span) not in passed and span.caller is not None:
        passed.add(id(span))
        span = span.caller
    span.place = Place.CIRCULAR
    return span


def _draw_bars(spans: Sequence[Span]) -> bool:
    """Sets each bar's place, where it is known, and width."""
    longest = max(span.line.duration for span in spans)
    began = min(span.line.moment - span.line.duration for span in spans)
    room = max(span.line.moment for span in spans) - began
    is_placed = all(span.line.moment % 1 for span in spans) and room <= 2 * longest
    whole = (room if is_placed else longest) or 1.0
    for span in spans:
        span.width = max(_LEAST_WIDTH, 100 * span.line.duration / whole)
        if is_placed:
            span.left = min(100 - _LEAST_WIDTH, 100 * (span.line.moment - span.line.duration - began) / whole)
    return is_placed
