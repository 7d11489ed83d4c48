"""The trace log: one line a request, in the Gin service's format (docs/architecture.md, "Trace log line")."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from urllib.parse import quote

from monitoring.instrument.tracing import Span

logger = logging.getLogger("monitoring")

# What would end a line or hide in one: control characters, Unicode's line breaks, and halves of surrogate pairs.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def format_duration(seconds: float) -> str:
    """As Go's time.Duration prints it: 639.8µs, 4.7664ms, 1.2s, 1m2.5s (https://pkg.go.dev/time#Duration.String)."""
    nanoseconds = round(seconds * 1e9)
    if nanoseconds <= 0:
        return "0s"
    if nanoseconds < 1_000:
        return f"{nanoseconds}ns"
    if nanoseconds < 1_000_000:
        return _trimmed(nanoseconds, 1_000, 3) + "µs"
    if nanoseconds < 1_000_000_000:
        return _trimmed(nanoseconds, 1_000_000, 6) + "ms"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    text = _trimmed(rest, 1_000_000_000, 9) + "s"
    if not minutes:
        return text
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"


def text_line(service_name: str, span: Span, method: str, path: str, duration: float, status: int, moment: float) -> str:
    """The line of one request, which ended at `moment` (seconds since the epoch) after `duration` seconds."""
    stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime(moment))
    return (
        f"{stamp} Service: {one_line(service_name)}, TraceID: {span.trace_id_spelled}, SpanID: {span.span_id},"
        f" ParentSpanID: {span.parent_spelled}, Method: {one_line(method)}, Path: {one_line(path)},"
        f" Duration: {format_duration(duration)}, Status: {status}\n"
    )


def one_line(text: str) -> str:
    """The text without anything that could break the line: such characters are percent-encoded."""
    if text.isprintable():  # the usual case, and fast
        return text
    return _UNSAFE.sub(lambda match: quote(match.group(), errors="surrogatepass"), text)


class TraceLog:
    """Appends lines to a file, one write each: lines of any number of processes and threads never mix.

    A line that cannot be written is lost, which is said once; the request never notices.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._opening = threading.Lock()
        self._complained = False

    def write(self, line: str) -> None:
        try:
            descriptor = self._descriptor
            if descriptor is None:
                descriptor = self._open()
            os.write(descriptor, line.encode(errors="backslashreplace"))
        except OSError as error:
            if not self._complained:
                self._complained = True
                logger.warning("The trace log %s cannot be written, and its lines are lost: %s", self.path, error)
        else:
            self._complained = False

    def _open(self) -> int:
        with self._opening:
            if self._descriptor is None:
                if self.path == "-":
                    self._descriptor = sys.__stdout__.fileno() if sys.__stdout__ is not None else 1
                else:
                    self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            return self._descriptor


def _trimmed(value: int, unit: int, digits: int) -> str:
    whole, fraction = divmod(value, unit)
    return f"{whole}.{fraction:0{digits}d}".rstrip("0").rstrip(".")


_shared: dict[str, TraceLog] = {}
_sharing = threading.Lock()


def shared(path: str) -> TraceLog:
    """The one TraceLog of this process for a path."""
    with _sharing:
        if path not in _shared:
            _shared[path] = TraceLog(path)
        return _shared[path]
