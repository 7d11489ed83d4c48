"""A file that lines are appended to, by any number of processes and threads: the trace log, the file of spans."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time

logger = logging.getLogger("monitoring")

_BURST = 0.001
_CHECK_EVERY = 0.01
"""Seconds. A line that follows the one before within a burst finds the file where that one did, for so long at most: rotation is
noticed at once, and costs nothing under load."""

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)  # a pipe without a reader must not hang a request


class LineFile:
    """Appends lines, one write each: lines of any number of processes and threads never mix.

    `path` is that of a file, or "-" for standard output. A file that was moved away (logrotate) is made anew. A line that cannot
    be written is lost, which is said once; nothing is raised.
    """

    def __init__(self, path: str, what: str = "trace log") -> None:
        self.path = path
        self.what = what
        self._descriptor: int | None = None
        self._opening = threading.Lock()
        self._check_at = 0.0
        self._written_at = 0.0
        self._is_torn = False
        self._complained = False

    def write(self, line: str) -> None:
        """Append a line, which ends in its line break."""
        try:
            now = time.monotonic()
            if now - self._written_at >= _BURST or now >= self._check_at or self._descriptor is None:
                self._check_at = now + _CHECK_EVERY
                self._follow_path()
            self._written_at = now
            try:
                data = line.encode()
            except UnicodeEncodeError:
                data = line.encode(errors="backslashreplace")
            if self._is_torn:  # the disk was full in the middle of a line: end that one first
                data = b"\n" + data
            written = os.write(self._descriptor, data)  # type: ignore[arg-type]
            if written != len(data):
                self._is_torn = True
                raise OSError(f"only {written} of {len(data)} bytes were written")
        except OSError as error:
            self._check_at = 0.0
            if not self._complained:
                self._complained = True
                logger.warning("The %s %s cannot be written, and its lines are lost: %s", self.what, self.path, error)
        else:
            if self._is_torn or self._complained:
                self._is_torn = self._complained = False

    def _follow_path(self) -> None:
        descriptor = self._descriptor
        if descriptor is not None:
            if self.path == "-":
                return
            try:
                if os.path.samestat(os.stat(self.path), os.fstat(descriptor)):
                    return
            except FileNotFoundError:
                pass
        with self._opening:
            if self._descriptor is not descriptor:
                return  # another thread has opened it
            if self.path == "-":
                self._descriptor = sys.__stdout__.fileno() if sys.__stdout__ is not None else 1
            elif descriptor is None:
                self._descriptor = os.open(self.path, _FLAGS, 0o644)
            else:
                # The number stays, for a thread may be writing to it: were it closed, another file could get the line.
                opened = os.open(self.path, _FLAGS, 0o644)
                os.dup2(opened, descriptor, inheritable=False)
                os.close(opened)


_shared: dict[str, LineFile] = {}
_sharing = threading.Lock()


def shared(path: str, what: str = "trace log") -> LineFile:
    """The one LineFile of this process for a path."""
    with _sharing:
        if path not in _shared:
            _shared[path] = LineFile(path, what)
        return _shared[path]


def _after_fork_in_child() -> None:
    """A thread of the parent may have held a lock. The descriptors are fine: each write appends."""
    global _sharing
    _sharing = threading.Lock()
    for file in _shared.values():
        file._opening = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
