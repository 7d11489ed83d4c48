"""Request metrics of this service: the table that this process counts in, and a snapshot over all worker processes."""

from __future__ import annotations

import logging
import mmap
import os
import threading
import time
import weakref
from pathlib import Path

from monitoring import wire
from monitoring.instrument import folder, merging
from monitoring.instrument.merging import TableReader
from monitoring.instrument.statedir import FolderError
from monitoring.instrument.store import CounterTable, Row, size_in_bytes

logger = logging.getLogger("monitoring")

RETRY_SECONDS = 60.0
"""After this long a process that had to count in its memory tries its folder again, when it is asked for its metrics."""


class RequestMetrics:
    """The counters of a service as one process sees them: its own table to write to, everybody's to read.

    `state_dir` is the folder shared by the service's processes; None keeps the counters in this process's memory. Nothing is
    opened before the first request.
    """

    def __init__(self, service_name: str, state_dir: Path | None, max_series: int) -> None:
        self.service_name = service_name
        self.state_dir = state_dir
        self.max_series = max_series
        self.table: CounterTable | None = None
        self.warning: str | None = None
        """Why the metrics are this process's alone, where they should be everybody's."""
        self._retry_at = 0.0
        self._opening = threading.Lock()
        self._started_at = time.time()
        _all.add(self)

    def open(self) -> CounterTable:
        """This process's table; in memory where the folder cannot serve, which is said once in the log."""
        with folder.held(self._opening, "The lock of this process's counters"):
            if self.table is None:
                self.table = self._open_shared() or CounterTable(mmap.mmap(-1, size_in_bytes(self.max_series)), self.max_series)
            return self.table

    def find_row(self, django_route: str | None, method: str, route: str) -> Row:
        """The row of an endpoint that `table.rows` does not lead to yet."""
        return self.open().add_row(django_route, method, route)

    def snapshot(self) -> wire.MetricsDocument:
        """The sum over all worker processes that live or have lived. Raises OSError where the folder cannot be read."""
        own = self.open()
        if self.state_dir is not None and self._has_lost_its_file(own):
            own = self._renew(own)
        if self.state_dir is None or self.warning is not None:
            total, live = folder.Total(self._started_at), [TableReader(own.content())]
        else:
            content = folder.read_folder(self.state_dir)
            total, live = content.total, content.live
        seen = merging.summed(live)
        for endpoint, last_seen in total.endpoints.values():
            merging.add(seen, endpoint, last_seen)
        endpoints = {key: endpoint for key, (endpoint, _last_seen) in folder.without_idle(seen).items()}
        return wire.MetricsDocument(
            service_name=self.service_name,
            endpoints=endpoints,
            started_at=total.started_at,
            workers=len(live),
            active_requests=sum(reader.active_requests for reader in live),
            dropped_series=max([total.dropped_series, *(reader.dropped_series for reader in live)]),
            warning=self.warning,
        )

    def _open_shared(self) -> CounterTable | None:
        if self.state_dir is None:
            return None
        self._retry_at = time.monotonic() + RETRY_SECONDS
        try:
            table = folder.open_table(self.state_dir, self.max_series)
        except FolderError as error:
            if self.warning is None:
                logger.warning(
                    "Request metrics are kept in this process's memory, and its /metrics lacks other workers' requests. %s", error
                )
            self.warning = f"These are the requests of one worker process alone: {error}"
            return None
        self.warning = None
        return table

    def _has_lost_its_file(self, table: CounterTable) -> bool:
        """Whether somebody removed the file of the table, or there was none and it is time to try again."""
        if table.path is None:
            return time.monotonic() >= self._retry_at
        return not os.path.exists(table.path)

    def _renew(self, lost: CounterTable) -> CounterTable:
        """Count on in a new file, and leave what was counted so far to be folded in like an ended worker's."""
        with folder.held(self._opening, "The lock of this process's counters"):
            if self.table is not lost:  # another thread was faster
                return self.table or lost
            table = self._open_shared()
            if table is not None and self.state_dir is not None:
                self.table = table
                folder.leave_behind(self.state_dir, lost)
            return self.table

    def _forget(self) -> None:
        self.table = None
        self._opening = threading.Lock()


_all: weakref.WeakSet[RequestMetrics] = weakref.WeakSet()
_shared: dict[tuple[str, Path | None, int], RequestMetrics] = {}
_sharing = threading.Lock()


def shared(service_name: str, state_dir: Path | None, max_series: int) -> RequestMetrics:
    """The one RequestMetrics of this process for these values: middleware and view get the same."""
    with _sharing:
        key = service_name, state_dir, max_series
        if key not in _shared:
            _shared[key] = RequestMetrics(*key)
        return _shared[key]


def _after_fork_in_child() -> None:
    """A map shared with the parent would lose increments of both: the child opens a table of its own at its first request."""
    global _sharing
    _sharing = threading.Lock()
    folder.forget_own_tables()
    for metrics in _all:
        metrics._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
