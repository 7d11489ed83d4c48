"""Lines to a sink: what it refuses is found by halving, what is too much for one request is sent in parts. It stores nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from monitoring.collector.sinks.base import Connection, Failure, Fault

BATCH_SIZE = 5000
"""Lines in one request: what InfluxDB's documentation recommends."""

SMALLEST_BATCH = 100
"""Fewer are not tried where a server is slow: it is not the number then."""

MAX_REQUESTS = 500
"""How many requests are spent on finding the refused lines in one delivery; after that whole parts are set aside.

One bad line among 5,000 takes 25. Where nearly all are bad, as a bucket that holds other types under the same names makes them,
nothing is to be found, and each would take two.
"""

LONG_LINE = 10_000
"""Bytes. Where one line is too much for a request and has fewer, it is not the line that is at fault."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Lines that the sink finds fault with, in its own words."""

    lines: tuple[str, ...]
    words: str


@dataclass(slots=True)
class Delivered:
    """What became of some lines."""

    written: int = 0
    refused: list[Refused] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    """What was not taken, in its order; there because of `failure`, or because there was no time left."""
    failure: Failure | None = None
    largest: int | None = None
    """How many lines at most fit into one request, where there were too many."""
    requests: int = 0


def deliver(
    connection: Connection,
    lines: Sequence[str],
    batch_size: int,
    max_requests: int = MAX_REQUESTS,
    go_on: Callable[[bool], bool] = lambda settled: True,
    search: Callable[[int], bool] = lambda found: True,
) -> Delivered:
    """Send these lines, in order, at most `batch_size` in a request. `go_on` is asked before each request but the first, and
    told whether anything was settled: what ends before that would begin with the same requests again, for ever.

    `search` is asked whether the refused lines of a part are to be found, and told how many were; else the part is set aside.
    """
    done = Delivered()
    parts = [list(lines[first : first + batch_size]) for first in range(0, len(lines), batch_size)]
    parts.reverse()  # the next one last
    while parts:
        part = parts.pop()
        if done.requests and not go_on(bool(done.written or done.refused)):
            parts.append(part)
            break
        done.requests += 1
        failure = connection.send(part)
        if failure is None:
            done.written += len(part)
        elif failure.fault is Fault.SIZE and len(part) == 1 and len(part[0].encode()) < LONG_LINE:
            said = f"{failure.reason} Even a line of {len(part[0].encode()):,} bytes is: raise the limit there."
            done.failure, done.largest = replace(failure, fault=Fault.SETTING, reason=said), None
            parts.append(part)
            break
        elif failure.fault is Fault.POINTS or (failure.fault is Fault.SIZE and len(part) == 1):
            if len(part) == 1 or done.requests >= max_requests or not search(len(done.refused)):
                done.refused.append(Refused(tuple(part), failure.words or failure.reason))
            else:
                _halve(part, parts)
        elif failure.fault is Fault.SIZE:
            done.largest = len(part) // 2
            _halve(part, parts)
        else:
            done.failure = failure
            parts.append(part)
            break
    done.rest = [line for part in reversed(parts) for line in part]
    return done


def _halve(part: list[str], parts: list[list[str]]) -> None:
    middle = len(part) // 2
    parts += [part[middle:], part[:middle]]


def next_size(size: int, done: Delivered, quick: bool = True) -> int:
    """How many lines to send in a request after this delivery, in which it was `size`.

    Half as many after a request that was too large or too slow; more again, a tenth at a time, where each was quick.
    """
    if done.largest is not None:
        return max(1, min(size, done.largest))
    if done.failure is not None:
        return max(min(SMALLEST_BATCH, size), size // 2) if done.failure.fault is Fault.SLOW else size
    return min(BATCH_SIZE, size + size // 10 + 1) if quick else size
