"""One process's counters, as rows of 8-byte words in a mapped file.

Nothing is serialised: a request adds to a few words in place, and any other process can read the file at any moment. Only
aligned words are written, one memoryview assignment each, so a reader never sees half of one. `folder.py` decides where the file
lies, `merging.py` reads and sums the tables of all processes.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
import time
from bisect import bisect_left
from pathlib import Path

from monitoring import histogram
from monitoring.wire import OTHER_METHOD, OVERFLOW_ROUTE, STANDARD_METHODS, bounded_route

WORD = 8
MAGIC = int.from_bytes(b"DJMONITR", "little")
VERSION = 1

# Words of the header: MAGIC, VERSION, ROW_WORDS, and these.
ROW_COUNT, ACTIVE, DROPPED = range(3, 6)
HEADER_WORDS = 16

# Words of a row: the key as UTF-8, the status codes, a stamp and durations (floats), and counts: of streams, for each status
# code, and the histogram's. The key comes first: a row is read from front to back, and given to another endpoint from back to
# front, so that counts are never read under the key of another endpoint.
KEY_WORDS = 56
STATUS_CODES = 20
CODES = KEY_WORDS
FLOATS = CODES + STATUS_CODES
LAST_SEEN, SUM, MAX, STREAM_SUM, STREAM_MAX = range(FLOATS, FLOATS + 5)
LAST_BUCKET = FLOATS + 5  # the word of the longest duration's, so that readers leave out the empty ones behind it
COUNTS = STREAM_COUNT = LAST_BUCKET + 1
STATUS_COUNTS = COUNTS + 1
BUCKETS = STATUS_COUNTS + STATUS_CODES
ROW_WORDS = BUCKETS + histogram.BUCKET_COUNT

IDLE_SECONDS = 7 * 86400.0
"""After this long without a request an endpoint leaves."""

STAMP_SECONDS = 1.0
"""How old the stamp of an endpoint's last request may be, while there are requests."""

OTHER_STATUS = 0
"""What stands for an endpoint's status codes beyond the first STATUS_CODES - 1, and for what is no status code."""

_DROPPED_KEYS_KEPT = 10_000
_BOUNDS = histogram.INNER_BOUNDS


def used_bytes(row_count: int) -> int:
    """Of the header and that many rows."""
    return WORD * (HEADER_WORDS + row_count * ROW_WORDS)


def size_in_bytes(max_series: int) -> int:
    """Of a table for that many endpoints and the one for all others."""
    return used_bytes(max_series + 1)


class Row:
    """The counters of one endpoint, in place."""

    __slots__ = ("floats", "ints", "last_bucket", "number", "stamp_due", "status_words")

    def __init__(self, number: int, ints: memoryview[int], floats: memoryview[float]) -> None:
        self.number = number
        self.ints = ints
        self.floats = floats
        self.last_bucket = 0
        self.stamp_due = -math.inf
        """From when on, by time.perf_counter(), the next request puts down when it was."""
        self.status_words: dict[int, int] = {}
        """Status code to the word of its count."""


class CounterTable:
    """The counters of this process, written by any of its threads.

    `rows` is the way of a request to its row: route as Django names it, then method. It is filled by `add_row()`.
    """

    __slots__ = (  # each is read faster than from a dict
        "__weakref__",
        "_active",
        "_buffer",
        "_by_key",
        "_dropped",
        "_epoch_offset",
        "_floats",
        "_ints",
        "_max_series",
        "lock",
        "path",
        "pid",
        "rows",
    )

    def __init__(self, buffer: mmap.mmap, max_series: int) -> None:
        self.lock = threading.Lock()
        self.rows: dict[str | None, dict[str, Row]] = {}
        self.pid = os.getpid()
        self.path: Path | None = None
        """Of the file; None for a table in memory."""
        self._max_series = max_series
        self._by_key: dict[str, Row] = {}
        self._dropped: set[int] = set()
        self._active = 0
        """What the file says, too; here it is read in a third of the time."""
        self._buffer = buffer
        view = memoryview(buffer)
        self._ints = view.cast("q")
        self._floats = view.cast("d")
        self._ints[1], self._ints[2] = VERSION, ROW_WORDS
        self._ints[0] = MAGIC  # last: now it is a table
        # Wall-clock stamps without asking the wall clock in every request.
        self._epoch_offset = time.time() - time.perf_counter()

    def record(self, row: Row, status: int, started: float, ended: float) -> None:
        """Count a request that `begin()` began; `started` and `ended` are time.perf_counter()'s. Counts all or raises."""
        duration = ended - started
        bucket = BUCKETS + bisect_left(_BOUNDS, duration)  # histogram.bucket_offset(), without the call
        ints, floats = row.ints, row.floats
        with self.lock:
            try:
                word = row.status_words[status]
            except KeyError:
                word = self._status_word(row, status)
            ints[word] += 1
            ints[bucket] += 1
            floats[SUM] += duration
            if ended >= row.stamp_due:
                row.stamp_due = ended + STAMP_SECONDS
                floats[LAST_SEEN] = ended + self._epoch_offset
            if bucket >= row.last_bucket:  # else another was longer
                if duration > floats[MAX]:
                    floats[MAX] = duration
                row.last_bucket = ints[LAST_BUCKET] = bucket
            self._ints[ACTIVE] = self._active = self._active - 1

    def record_stream(self, row: Row, seconds: float) -> None:
        """A streamed response has ended, this long after its request came in."""
        ints, floats = row.ints, row.floats
        with self.lock:
            ints[STREAM_COUNT] += 1
            floats[STREAM_SUM] += seconds
            if seconds > floats[STREAM_MAX]:
                floats[STREAM_MAX] = seconds

    def begin(self) -> None:
        """A request has come in; `record()` or `abandon()` ends it."""
        with self.lock:
            self._ints[ACTIVE] = self._active = self._active + 1

    def abandon(self) -> None:
        """A request has ended that is not counted."""
        with self.lock:
            self._ints[ACTIVE] = self._active = self._active - 1

    def add_row(self, django_route: str | None, method: str, route: str) -> Row:
        """The row of an endpoint, found or made, and entered into `rows`."""
        with self.lock:
            self._epoch_offset = time.time() - time.perf_counter()  # now and then: the wall clock may have been set
            methods = self.rows.setdefault(django_route, {})
            standard = method if method in STANDARD_METHODS else OTHER_METHOD
            row = self._row_of(standard, bounded_route(route))
            if standard == method:  # an invented method is looked up anew each time, so that it leaves nothing behind
                methods[method] = row
            return row

    def content(self) -> bytes:
        """The header and the rows in use, for a TableReader."""
        return self._buffer[: used_bytes(self._ints[ROW_COUNT])]

    def _row_of(self, method: str, route: str) -> Row:
        row = self._by_key.get(method + route)
        if row is not None:
            return row
        number = self._ints[ROW_COUNT]
        if number >= self._max_series:
            idle = self._idle_row()
            if idle is not None:
                return self._take(idle, method, route)
            if len(self._dropped) < _DROPPED_KEYS_KEPT:
                self._dropped.add(hash(method + route))
                self._ints[DROPPED] = len(self._dropped)
            method, route = OTHER_METHOD, OVERFLOW_ROUTE
            row = self._by_key.get(method + route)
            if row is not None:
                return row
        row = self._take(number, method, route)
        self._ints[ROW_COUNT] = number + 1  # last: now readers see it
        return row

    def _take(self, number: int, method: str, route: str) -> Row:
        start = HEADER_WORDS + number * ROW_WORDS
        row = Row(number, self._ints[start : start + ROW_WORDS], self._floats[start : start + ROW_WORDS])
        row.floats[LAST_SEEN] = time.perf_counter() + self._epoch_offset
        key = f"{method}\0{route}".encode().ljust(WORD * KEY_WORDS, b"\0")
        row.ints[:KEY_WORDS] = memoryview(key).cast("q")
        self._by_key[method + route] = row
        return row

    def _idle_row(self) -> int | None:
        """The number of a row, now empty, whose endpoint has left; None where none has."""
        oldest = time.perf_counter() + self._epoch_offset - IDLE_SECONDS
        for key, row in self._by_key.items():
            if row.floats[LAST_SEEN] < oldest:
                row.ints[KEY_WORDS:] = memoryview(bytes(WORD * (ROW_WORDS - KEY_WORDS))).cast("q")
                del self._by_key[key]
                for methods in self.rows.values():
                    for method in [method for method, found in methods.items() if found is row]:
                        del methods[method]
                return row.number
        return None

    def _status_word(self, row: Row, status: int) -> int:
        used = len(row.status_words)
        if not _is_status(status) or used >= STATUS_CODES - 1:
            status = OTHER_STATUS
            if status in row.status_words:
                return row.status_words[status]
        word = STATUS_COUNTS + used
        row.ints[CODES + used] = status
        row.status_words[status] = word
        return word


def _is_status(status: object) -> bool:
    return isinstance(status, int) and not isinstance(status, bool) and 100 <= status <= 999
