"""One process's counters, as rows of 8-byte words in a mapped file.

Nothing is serialised: a request adds to a few words in place, and any other process can read the file at any moment. Only
aligned words are written, one memoryview assignment each, so a reader never sees half of one. `folder.py` decides where the file
lies, and sums the files of all processes.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Iterator

from monitoring import histogram
from monitoring.wire import OTHER_METHOD, STANDARD_METHODS, UNKNOWN_ROUTE, EndpointMetrics, bounded_route

WORD = 8
MAGIC = int.from_bytes(b"DJMONITR", "little")
VERSION = 1

# Words of the header.
_MAGIC, _VERSION, _ROW_WORDS, _MAX_ROWS, _ROW_COUNT, _ACTIVE, _DROPPED = range(7)
HEADER_WORDS = 16

# Words of a row: the key as UTF-8, a stamp and durations (floats), pairs of status code and count, and the histogram. The key
# comes first: a row is read from front to back, and given to another endpoint from back to front, so that counts are never read
# under the key of another endpoint.
_KEY_WORDS = 56
_LAST_SEEN, _SUM, _MAX, _STREAM_COUNT, _STREAM_SUM, _STREAM_MAX = range(_KEY_WORDS, _KEY_WORDS + 6)
_STATUSES = _KEY_WORDS + 6
STATUS_PAIRS = 20
_BUCKETS = _STATUSES + 2 * STATUS_PAIRS
ROW_WORDS = _BUCKETS + histogram.BUCKET_COUNT

IDLE_SECONDS = 7 * 86400.0
"""After this long without a request an endpoint leaves."""

OTHER_STATUS = 0
"""What stands for an endpoint's status codes beyond the first STATUS_PAIRS - 1, and for what is no status code."""

OVERFLOW_ROUTE = "/_other"
"""What stands for all endpoints beyond the maximum."""

_DROPPED_KEYS_KEPT = 10_000


class TableError(ValueError):
    """The bytes are not a table of this version."""


def size_in_bytes(max_series: int) -> int:
    """Of a table for that many endpoints and the one for all others."""
    return WORD * (HEADER_WORDS + (max_series + 1) * ROW_WORDS)


def _used_bytes(row_count: int) -> int:
    return WORD * (HEADER_WORDS + row_count * ROW_WORDS)


class Row:
    """The counters of one endpoint, in place."""

    __slots__ = ("floats", "ints", "number", "status_words")

    def __init__(self, number: int, ints: memoryview[int], floats: memoryview[float]) -> None:
        self.number = number
        self.ints = ints
        self.floats = floats
        self.status_words: dict[int, int] = {}
        """Status code to the word of its count."""


class CounterTable:
    """The counters of this process, written by any of its threads.

    `rows` is the way of a request to its row: route as Django names it, then method. It is filled by `add_row()`.
    """

    def __init__(self, buffer: mmap.mmap, max_series: int) -> None:
        self.lock = threading.Lock()
        self.rows: dict[str | None, dict[str, Row]] = {}
        self._max_series = max_series
        self._by_key: dict[str, Row] = {}
        self._dropped: set[int] = set()
        self._buffer = buffer
        view = memoryview(buffer)
        self._ints = view.cast("q")
        self._floats = view.cast("d")
        header = (VERSION, ROW_WORDS, max_series + 1, 0, 0, 0)
        for word, value in enumerate(header, start=1):
            self._ints[word] = value
        self._ints[_MAGIC] = MAGIC  # last: now it is a table
        # Wall-clock stamps without asking the wall clock in every request.
        self._epoch_offset = time.time() - time.perf_counter()

    def record(self, row: Row, status: int, started: float, ended: float) -> None:
        """Count one request; `started` and `ended` are time.perf_counter()'s."""
        duration = ended - started
        bucket = _BUCKETS + histogram.bucket_offset(duration)
        ints, floats = row.ints, row.floats
        with self.lock:
            word = row.status_words.get(status)
            if word is None:
                word = self._status_word(row, status)
            ints[word] += 1
            ints[bucket] += 1
            floats[_SUM] += duration
            if duration > floats[_MAX]:
                floats[_MAX] = duration
            floats[_LAST_SEEN] = ended + self._epoch_offset
            self._ints[_ACTIVE] -= 1

    def begin(self) -> None:
        """A request has come in; `record()` or `abandon()` ends it."""
        with self.lock:
            self._ints[_ACTIVE] += 1

    def abandon(self) -> None:
        """A request has ended that is not counted."""
        with self.lock:
            self._ints[_ACTIVE] -= 1

    def record_stream(self, row: Row, seconds: float) -> None:
        """A streamed response has ended, this long after its request came in."""
        ints, floats = row.ints, row.floats
        with self.lock:
            ints[_STREAM_COUNT] += 1
            floats[_STREAM_SUM] += seconds
            if seconds > floats[_STREAM_MAX]:
                floats[_STREAM_MAX] = seconds

    def add_row(self, django_route: str | None, method: str, route: str) -> Row:
        """The row of an endpoint, found or made, and entered into `rows`."""
        with self.lock:
            methods = self.rows.setdefault(django_route, {})
            standard = method if method in STANDARD_METHODS else OTHER_METHOD
            row = self._row_of(standard, bounded_route(route))
            if standard == method:  # an invented method is looked up anew each time, so that it leaves nothing behind
                methods[method] = row
            return row

    def content(self) -> bytes:
        """The header and the rows in use, for a TableReader."""
        return self._buffer[: _used_bytes(self._ints[_ROW_COUNT])]

    def _row_of(self, method: str, route: str) -> Row:
        row = self._by_key.get(method + route)
        if row is not None:
            return row
        number = self._ints[_ROW_COUNT]
        if number >= self._max_series:
            idle = self._idle_row()
            if idle is not None:
                return self._take(idle, method, route)
            if len(self._dropped) < _DROPPED_KEYS_KEPT:
                self._dropped.add(hash(method + route))
                self._ints[_DROPPED] = len(self._dropped)
            method, route = OTHER_METHOD, OVERFLOW_ROUTE
            row = self._by_key.get(method + route)
            if row is not None:
                return row
        row = self._take(number, method, route)
        self._ints[_ROW_COUNT] = number + 1  # last: now readers see it
        return row

    def _take(self, number: int, method: str, route: str) -> Row:
        start = HEADER_WORDS + number * ROW_WORDS
        row = Row(number, self._ints[start : start + ROW_WORDS], self._floats[start : start + ROW_WORDS])
        row.floats[_LAST_SEEN] = time.perf_counter() + self._epoch_offset
        key = f"{method}\0{route}".encode().ljust(WORD * _KEY_WORDS, b"\0")
        row.ints[:_KEY_WORDS] = memoryview(key).cast("q")
        self._by_key[method + route] = row
        return row

    def _idle_row(self) -> int | None:
        """The number of a row, now empty, whose endpoint has left; None where none has."""
        oldest = time.perf_counter() + self._epoch_offset - IDLE_SECONDS
        for key, row in self._by_key.items():
            if row.floats[_LAST_SEEN] < oldest:
                row.ints[_KEY_WORDS:] = memoryview(bytes(WORD * (ROW_WORDS - _KEY_WORDS))).cast("q")
                del self._by_key[key]
                for methods in self.rows.values():
                    for method in [method for method, found in methods.items() if found is row]:
                        del methods[method]
                return row.number
        return None

    def _status_word(self, row: Row, status: int) -> int:
        used = len(row.status_words)
        if type(status) is not int or not 100 <= status <= 999 or used >= STATUS_PAIRS - 1:
            status = OTHER_STATUS
            if status in row.status_words:
                return row.status_words[status]
        word = _STATUSES + 2 * used + 1
        row.ints[word - 1] = status
        row.status_words[status] = word
        return word


def read_used_part(descriptor: int) -> bytes:
    """The header and the rows in use of a table's file, for a TableReader."""
    header = os.pread(descriptor, WORD * HEADER_WORDS, 0)
    if len(header) < WORD * HEADER_WORDS:
        return header
    count = memoryview(header).cast("q")[_ROW_COUNT]
    return os.pread(descriptor, _used_bytes(min(max(count, 0), 1_000_000)), 0)


class TableReader:
    """The counters in the bytes of a table, whoever wrote it. Raises TableError where they are none."""

    def __init__(self, content: bytes) -> None:
        if len(content) < WORD * HEADER_WORDS or len(content) % WORD:
            raise TableError("it is too short, or cut off")
        view = memoryview(content)
        self._ints = view.cast("q")
        self._floats = view.cast("d")
        if self._ints[_MAGIC] != MAGIC:
            raise TableError("it is no table of counters")
        if self._ints[_VERSION] != VERSION or self._ints[_ROW_WORDS] != ROW_WORDS:
            raise TableError("another version of this package wrote it")
        self._row_count = self._ints[_ROW_COUNT]
        if not 0 <= self._row_count <= (len(self._ints) - HEADER_WORDS) // ROW_WORDS:
            raise TableError("it is cut off")
        self.active_requests = max(0, self._ints[_ACTIVE])
        self.dropped_series = max(0, self._ints[_DROPPED])

    def endpoints(self) -> Iterator[tuple[EndpointMetrics, float]]:
        """Each endpoint that was requested, with the moment of its last request in seconds since the epoch."""
        for number in range(self._row_count):
            start = HEADER_WORDS + number * ROW_WORDS
            statuses = self._ints[start + _STATUSES : start + _BUCKETS].tolist()
            codes = {code: count for code, count in zip(statuses[::2], statuses[1::2], strict=True) if count}
            if not codes:
                continue
            last_seen, total, longest, _, stream_sum, stream_max = self._floats[start + _LAST_SEEN : start + _STATUSES]
            buckets = self._ints[start + _BUCKETS : start + ROW_WORDS].tolist()
            endpoint = EndpointMetrics(
                *self._key(start),
                sum(codes.values()),
                total,
                longest,
                codes,
                {index: count for index, count in enumerate(buckets, histogram.MIN_INDEX) if count},
            )
            streams = self._ints[start + _STREAM_COUNT]
            if streams:
                endpoint.stream_count, endpoint.stream_duration_sum, endpoint.stream_duration_max = (
                    streams,
                    stream_sum,
                    stream_max,
                )
            yield endpoint, last_seen

    def _key(self, start: int) -> tuple[str, str]:
        key = self._ints[start : start + _KEY_WORDS].tobytes().rstrip(b"\0")
        method, _, route = key.decode(errors="replace").partition("\0")
        return method, route or UNKNOWN_ROUTE
