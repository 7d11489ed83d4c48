"""Read tables of counters, whoever wrote them, and sum them.

A service may have 8 workers with 1,000 endpoints each, and is asked every few seconds: so rows are not decoded one by one. All
counts of a row are taken as one large number, in which each word is a digit of 64 bits; these are added, without a carry between
words (a sum of counts stays below 2**64), and only the sums are decoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Any, TypeAlias

from monitoring import histogram, wire
from monitoring.instrument.store import (
    ACTIVE,
    BUCKETS,
    CODES,
    COUNTS,
    DROPPED,
    FLOATS,
    HEADER_WORDS,
    KEY_WORDS,
    MAGIC,
    ROW_COUNT,
    ROW_WORDS,
    STATUS_COUNTS,
    VERSION,
    WORD,
    used_bytes,
)

_ROW = WORD * ROW_WORDS
_FLOATS = Struct("=5dQ")

Endpoints: TypeAlias = "dict[str, tuple[wire.EndpointMetrics, float]]"
"""Counters by endpoint key, each with the moment of the last request in seconds since the epoch."""

_Sums: TypeAlias = "list[Any]"
"""The counts as one large number, then the floats of a row."""


class TableError(ValueError):
    """The bytes are not a table of this version."""


class TableReader:
    """The bytes of a table, checked. Raises TableError where they are none."""

    def __init__(self, content: bytes) -> None:
        if len(content) < WORD * HEADER_WORDS or len(content) % WORD:
            raise TableError("it is too short, or cut off")
        header = memoryview(content)[: WORD * HEADER_WORDS].cast("q")
        if header[0] != MAGIC:
            raise TableError("it is no table of counters")
        if header[1] != VERSION or header[2] != ROW_WORDS:
            raise TableError("another version of this package wrote it")
        if header[ROW_COUNT] < 0 or used_bytes(header[ROW_COUNT]) > len(content):
            raise TableError("it is cut off")
        self.content = content
        self.row_count = header[ROW_COUNT]
        self.active_requests = max(0, header[ACTIVE])
        self.dropped_series = max(0, header[DROPPED])

    def endpoints(self) -> Iterator[tuple[wire.EndpointMetrics, float]]:
        """Each endpoint that was requested, with the moment of its last request in seconds since the epoch."""
        yield from summed([self]).values()


def read_used_part(descriptor: int) -> bytes:
    """The header and the rows in use of a table's file, for a TableReader."""
    header = os.pread(descriptor, WORD * HEADER_WORDS, 0)
    if len(header) < WORD * HEADER_WORDS:
        return header
    # The rows as of this header: its worker may be adding others at this moment.
    row_count = memoryview(header).cast("q")[ROW_COUNT]
    return header + os.pread(descriptor, used_bytes(min(max(row_count, 0), 1_000_000)) - len(header), len(header))


def summed(tables: Iterable[TableReader]) -> Endpoints:
    """The sum over tables."""
    endpoints: Endpoints = {}
    for head, sums in _summed_rows(tables).items():
        endpoint = _decode(head, sums)
        if endpoint.count:
            add(endpoints, endpoint, sums[1])
    return endpoints


def add(endpoints: Endpoints, endpoint: wire.EndpointMetrics, last_seen: float) -> None:
    """Add one endpoint's counters to those of the same key."""
    key = endpoint.key
    earlier = endpoints.get(key)
    if earlier is not None:
        endpoint, last_seen = wire.add(earlier[0], endpoint), max(earlier[1], last_seen)
    endpoints[key] = endpoint, last_seen


def _summed_rows(tables: Iterable[TableReader]) -> dict[bytes, _Sums]:
    """Rows with the same key and status codes as one: the counts as one large number, then the floats of the row.

    Two workers that saw an endpoint's status codes in another order give two rows here.
    """
    rows: dict[bytes, _Sums] = {}
    unpack = _FLOATS.unpack_from
    for table in tables:
        content = table.content
        for start in range(WORD * HEADER_WORDS, used_bytes(table.row_count), _ROW):
            head = content[start : start + WORD * FLOATS]
            last_seen, total, longest, stream_sum, stream_max, last_bucket = unpack(content, start + WORD * FLOATS)
            end = start + WORD * min(last_bucket + 1, ROW_WORDS)
            counts = int.from_bytes(content[start + WORD * COUNTS : end], "little")
            row = rows.get(head)
            if row is None:
                rows[head] = [counts, last_seen, total, longest, stream_sum, stream_max]
                continue
            row[0] += counts
            row[2] += total
            row[4] += stream_sum
            if last_seen > row[1]:
                row[1] = last_seen
            if longest > row[3]:
                row[3] = longest
            if stream_max > row[5]:
                row[5] = stream_max
    return rows


def _decode(head: bytes, sums: _Sums) -> wire.EndpointMetrics:
    counts, _last_seen, total, longest, stream_sum, stream_max = sums
    used = max(BUCKETS - COUNTS, (counts.bit_length() + 63) // 64)
    words = memoryview(counts.to_bytes(WORD * used, "little")).cast("Q").tolist()
    by_code: dict[int, int] = {}
    for code, count in zip(memoryview(head)[WORD * CODES :].cast("q"), words[STATUS_COUNTS - COUNTS :], strict=False):
        if not count:
            break  # codes are entered one after the other
        by_code[code] = by_code.get(code, 0) + count
    method, _, route = head[: WORD * KEY_WORDS].rstrip(b"\0").decode(errors="replace").partition("\0")
    buckets = {index: count for index, count in enumerate(words[BUCKETS - COUNTS :], histogram.MIN_INDEX) if count}
    endpoint = wire.EndpointMetrics(method, route or wire.UNKNOWN_ROUTE, sum(by_code.values()), total, longest, by_code, buckets)
    if words[0]:
        endpoint.stream_count, endpoint.stream_duration_sum, endpoint.stream_duration_max = words[0], stream_sum, stream_max
    return endpoint
