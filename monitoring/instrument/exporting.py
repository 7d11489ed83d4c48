"""Between requests and exporters: bounded queues, each emptied by a thread of its own, which starts with the first span."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque

from monitoring.instrument.exporters import Exporter, Trace
from monitoring.instrument.spans import RequestSpan, Span

logger = logging.getLogger("monitoring")

MAX_QUEUED = 2_048
"""Requests whose spans wait; what comes on top is dropped."""
_HURRY = 64
"""So many that wait wake the thread at once: what is exported young is still in the processor's cache."""
_BATCH = 256
_INTERVAL = 0.5
"""Seconds for which spans gather: waking a thread for each request would cost more than the rest of it."""
_AT_EXIT = 2.0
"""Seconds that the end of the process waits for its exporters."""


_making = threading.Lock()


class FinishedRequest:
    """A request that has ended, whose spans are made when the first exporter asks for them; the same for every exporter."""

    __slots__ = ("_request", "_trace")

    def __init__(self, request: RequestSpan) -> None:
        self._request = request
        self._trace: Trace | None = None

    def trace(self) -> Trace:
        with _making:
            if self._trace is None:
                self._trace = Trace(self._request.options.service_name, (self._request, *_children(self._request)))
            return self._trace


def _children(request: RequestSpan) -> list[Span]:
    spans = [child if isinstance(child, Span) else child.span(request) for child in request.children or ()]
    for span in spans:
        if span.ended is None:
            span.ended = request.ended
            span.attributes = {**(span.attributes or {}), "monitoring.unfinished": True}
        if span.error is not None:
            span.attributes = {**(span.attributes or {}), "error.type": span.error}
    request.children, request.queries = [], {}  # they name their request: let no cycle wait for the garbage collector
    return spans


class ExportQueue:
    """Takes finished requests for one exporter."""

    def __init__(self, exporter: Exporter) -> None:
        self.exporter = exporter
        self.dropped = 0
        self._complained = False
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._queue: deque[FinishedRequest | threading.Event] = deque()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._is_awake = False
        self._wake = threading.Event()
        self._hurry = threading.Event()

    def put(self, request: FinishedRequest) -> None:
        """Never waits."""
        queue = self._queue
        if len(queue) >= MAX_QUEUED:
            self._drop()
            return
        queue.append(request)
        if not self._is_awake:
            self._awaken()
        elif len(queue) == _HURRY:
            self._hurry.set()

    def flush(self, seconds: float) -> bool:
        """Wait until all that was put so far is exported; False where that takes longer."""
        if self._thread is None:
            return True
        done = threading.Event()
        self._queue.append(done)
        self._awaken()
        self._hurry.set()
        return done.wait(seconds)

    def _awaken(self) -> None:
        self._is_awake = True
        if self._thread is None or not self._thread.is_alive():
            with self._starting:
                if self._thread is None or not self._thread.is_alive():
                    thread = threading.Thread(target=self._run, name="monitoring-exporter", daemon=True)
                    thread.start()
                    self._thread = thread
        self._wake.set()

    def _drop(self) -> None:
        self.dropped += 1
        if self.dropped == 1:
            logger.warning(
                "%s does not keep up, and spans are dropped: %d requests wait for it.", type(self.exporter).__name__, MAX_QUEUED
            )

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self._hurry.wait(_INTERVAL)
            self._hurry.clear()
            self._is_awake = False  # whoever puts from here on wakes this thread again
            while self._queue:
                self._export_batch()
            if self.dropped:
                logger.warning(
                    "%s keeps up again; the spans of %d requests were dropped.", type(self.exporter).__name__, self.dropped
                )
                self.dropped = 0

    def _export_batch(self) -> None:
        requests: list[FinishedRequest] = []
        flushed: list[threading.Event] = []
        while self._queue and len(requests) < _BATCH:
            item = self._queue.popleft()
            if isinstance(item, threading.Event):
                flushed.append(item)
            else:
                requests.append(item)
        try:
            traces = [request.trace() for request in requests]
            if traces:
                self.exporter.export(traces)
            self._complained = False
        except BaseException as error:  # a SystemExit of its own must not end the thread either
            if not self._complained:
                self._complained = True
                name = type(self.exporter).__name__
                logger.warning("%s failed, and the spans of %d requests are lost.", name, len(requests), exc_info=error)
        for event in flushed:
            event.set()


_all: weakref.WeakSet[ExportQueue] = weakref.WeakSet()


def flush(seconds: float) -> bool:
    """Wait until every exporter of this process has all that was recorded so far; False where that takes longer."""
    until = time.monotonic() + seconds
    exported = [queue.flush(max(0.0, until - time.monotonic())) for queue in list(_all)]
    return all(exported)


def _after_fork_in_child() -> None:
    """The threads are the parent's, and so is what waits: it exports that itself."""
    global _making
    _making = threading.Lock()
    for queue in list(_all):
        queue._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(flush, _AT_EXIT)
