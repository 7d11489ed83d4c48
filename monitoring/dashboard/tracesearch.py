"""Lines of trace logs: all of one trace, or the latest. Bounded in bytes, lines and time, and what a bound left out is told.

Of all files the newest data comes first: after each block, the file goes on whose unread data is the newest, by the stamps in the
lines. So where a bound ends a search, everything after one moment was searched in all files.
"""

from __future__ import annotations

import enum
import heapq
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from monitoring.dashboard import tracefiles
from monitoring.dashboard.tracefiles import Block, LogFile, Trouble
from monitoring.tracelines import TraceLine, TraceLineError, one_line, parse_line, plain_id

FAILED = 500
"""From this status on a request failed."""

_TRACE_ID = re.compile(r"(?<![0-9a-f])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f])", re.IGNORECASE)
_SURELY_ANSWERED = re.compile(rb"(?:Status: |\"status\":)[1-4][0-9][0-9]}?\n")  # not failed, as is seen without parsing the line
_LAST_MOMENT = 250e9  # in the year 9892: later ones are no datetime in every time zone
_LOOKED_THROUGH = 4_000  # characters of what somebody pasted


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a search goes."""

    read: int = 256 * 1024 * 1024
    """Bytes of all files together, unpacked."""
    lines: int = 1_000
    seconds: float = 2.0
    block: int = 1024 * 1024
    """Bytes that are read at a time, and the longest line that is looked at."""


class Limit(enum.Enum):
    """Which of them ended a search."""

    READ = "read"
    LINES = "lines"
    SECONDS = "seconds"


@dataclass(slots=True)
class Searched:
    """A file, and how much of it was searched."""

    file: LogFile
    path: str
    """As it can be shown."""
    read: int = 0
    """Bytes, unpacked."""
    back_to: float | None = None
    """The stamp of the oldest line that was searched."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave. Texts in the lines are bounded, and have no control character and nothing that is not Unicode."""

    lines: tuple[TraceLine, ...]
    """The newest first, as far as stamps tell."""
    searched: tuple[Searched, ...]
    troubles: tuple[Trouble, ...]
    limit: Limit | None
    """None where the search came to its end."""
    back_to: float | None
    """The moment after which everything was searched in every file; None where all was."""
    read: int
    """Bytes, unpacked."""


def trace_id_in(text: str) -> str | None:
    """The first trace id in what somebody pasted: an id, a traceparent, a whole line. 32 lowercase digits; None without one."""
    match = _TRACE_ID.search(text[:_LOOKED_THROUGH])
    found = plain_id(match[0]) if match else "0" * 32
    return None if found == "0" * 32 else found


def of_trace(
    patterns: Sequence[str], trace_id: str, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic
) -> Found:
    """All lines of the trace of this plain id, however they spell it, in the files that the patterns match."""
    limits = limits or Limits()
    reading = _Reading(patterns, limits, clock)
    needle = trace_id[-12:].encode()  # in a UUID, too, these stand together
    lines: list[TraceLine] = []
    for block in reading.blocks():
        for raw in _lines_with(needle, block):
            line = _read(raw)
            if line is not None and plain_id(line.trace_id) == trace_id:
                lines.append(line)
            if len(lines) > limits.lines:
                del lines[limits.lines :]
                reading.limit = Limit.LINES
            if reading.has_to_end():
                break
    lines.sort(key=lambda line: line.moment, reverse=True)
    return reading.found(lines)


def latest(
    patterns: Sequence[str],
    count: int,
    service_name: str = "",
    only_failed: bool = False,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """The latest lines, the newest first. Lines of a file are taken to stand in the order of their stamps."""
    reading = _Reading(patterns, limits or Limits(block=128 * 1024), clock)
    # A heap with the oldest first. Within a second nobody knows an order: there each file gives its last line, then the next.
    kept: list[tuple[float, int, int, TraceLine]] = []
    number = 0
    for block in reading.blocks():
        taken = 0
        for raw in _lines(block):
            line = None if only_failed and _SURELY_ANSWERED.search(raw, max(0, len(raw) - 24)) else _read(raw)
            if line is not None and len(kept) == count and line.moment < kept[0][0]:
                break
            if line is not None and service_name in ("", line.service_name) and (not only_failed or line.status >= FAILED):
                number -= 1
                (heapq.heappush if len(kept) < count else heapq.heappushpop)(kept, (line.moment, -taken, number, line))
                taken += 1
            if taken == count or reading.has_to_end():
                break
        if len(kept) == count and (reading.unread is None or reading.unread < kept[0][0]):
            break
    return reading.found([line for *_, line in sorted(kept, reverse=True)])


class _Reading:
    """The files' blocks, the newest data of all first, until a limit."""

    def __init__(self, patterns: Sequence[str], limits: Limits, clock: Callable[[], float]) -> None:
        self._clock, self._limits = clock, limits
        self._ends_at = clock() + limits.seconds
        files, self._troubles = tracefiles.find(patterns)
        self._searched = [Searched(file, tracefiles.readable(file.path)) for file in files]
        # By the newest moment that is not read, negated; the index makes no two equal.
        self._heap = [(-file.modified, index) for index, file in enumerate(files)]
        heapq.heapify(self._heap)
        self._in_hand: float | None = None  # the newest moment of the block that is looked through
        self._read = 0
        self.limit: Limit | None = None

    def blocks(self) -> Iterator[bytes]:
        """Break off when `has_to_end()`."""
        readers: dict[int, Generator[Block, None, None]] = {}
        try:
            while self._heap and not self.has_to_end():
                if self._read >= self._limits.read:
                    self.limit = Limit.READ
                    return
                moment, index = heapq.heappop(self._heap)
                searched = self._searched[index]
                reader = readers.pop(index, None) or tracefiles.blocks(searched.file, self._limits.block)
                try:
                    block = next(reader)
                except tracefiles.UnreadableLogError as error:
                    self._troubles.append(Trouble(searched.path, str(error)))
                    continue
                oldest = _first_moment(block.data)
                if oldest is not None and (searched.back_to is None or oldest < searched.back_to):
                    searched.back_to = oldest
                if block.is_last:
                    reader.close()
                else:
                    readers[index] = reader
                    goes_back = block.older_follows and oldest is not None
                    heapq.heappush(self._heap, (max(moment, -(oldest or 0.0)) if goes_back else moment, index))
                self._read += len(block.data)
                searched.read += len(block.data)
                self._in_hand = -moment
                yield block.data
                if self.limit is not None:  # of this block not all was looked through
                    return
                self._in_hand = None
        finally:
            for reader in readers.values():
                reader.close()

    @property
    def unread(self) -> float | None:
        """The newest moment of what is not read, as far as stamps tell; None where nothing is left."""
        return -self._heap[0][0] if self._heap else None

    def has_to_end(self) -> bool:
        if self.limit is None and self._clock() >= self._ends_at:
            self.limit = Limit.SECONDS
        return self.limit is not None

    def found(self, lines: Sequence[TraceLine]) -> Found:
        left = [moment for moment in (self.unread, self._in_hand) if moment is not None] if self.limit else []
        back_to = max(left, default=None)
        troubled = {trouble.path for trouble in self._troubles}
        searched = tuple(one for one in self._searched if one.read or one.path not in troubled)
        return Found(tuple(lines), searched, tuple(self._troubles), self.limit, back_to, self._read)


def _lines(data: bytes) -> Iterator[bytes]:
    """The last one first."""
    end = len(data)
    while end > 0:
        start = data.rfind(b"\n", 0, end - 1) + 1
        yield data[start:end]
        end = start


def _lines_with(needle: bytes, data: bytes) -> Iterator[bytes]:
    """The lines that hold this, in whichever case, the last one first. The needle is in lower case."""
    lowered = data.lower()
    end = len(data)
    while (position := lowered.rfind(needle, 0, end)) >= 0:
        start = lowered.rfind(b"\n", 0, position) + 1
        after = lowered.find(b"\n", position) + 1
        yield data[start : after or len(data)]
        end = start


def _read(raw: bytes) -> TraceLine | None:
    """The line in its shown form; None for what is no whole line of a trace log."""
    try:
        line = parse_line(raw.decode("utf-8", "replace"))
    except TraceLineError:
        return None
    if not 0 <= line.moment < _LAST_MOMENT:
        return None
    if not raw.endswith(b"\n") and line.status < 100:  # the rest of its status is being written
        return None
    return line._replace(
        service_name=one_line(line.service_name[:200]),
        trace_id=one_line(line.trace_id[:64]),
        span_id=one_line(line.span_id[:64]),
        parent_span_id=one_line(line.parent_span_id[:64]),
        method=one_line(line.method[:32]),
        path=one_line(line.path[:2_000]),
    )


def _first_moment(data: bytes) -> float | None:
    """The stamp of the first line, or of one of the next where it has none."""
    for raw in data[:16_384].split(b"\n", 16)[:16]:
        line = _read(raw + b"\n")
        if line is not None:
            return line.moment
    return None
