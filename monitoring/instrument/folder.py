"""The folder that a service's worker processes share: one file of counters each, and the sum of those that have ended.

A worker holds a lock on its file for as long as it lives. The lock, not the pid, tells whether it does: that is right across
containers, after a reboot and after kill -9, and the kernel lets go of it. Record locks (`fcntl.lockf`) belong to a process and
are not inherited by a fork, so a child that outlives its parent does not keep the parent's file alive. They have one trap:
closing any descriptor of a file gives up this process's lock on it. So a process never opens its own file a second time.

Whoever reads the folder folds the files of ended workers into `total.json`, under the folder's lock. The total names the files
that it includes, so that a reader which dies between writing it and removing them costs nothing and counts nothing twice.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from monitoring import wire
from monitoring.instrument import merging, statedir
from monitoring.instrument.merging import Endpoints, TableError, TableReader, read_used_part
from monitoring.instrument.statedir import FolderError
from monitoring.instrument.store import IDLE_SECONDS, CounterTable, size_in_bytes

try:
    import fcntl
except ImportError:  # Windows: counters stay in the memory of each process
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("monitoring")

_PATIENCE = 3.0
"""Seconds to wait for the folder's lock. Others hold it for milliseconds, unless they are stopped."""

_TOTAL = "total.json"
_LOCK = "lock"
_WORKER = re.compile(r"worker-\d+-[0-9a-f]{8}\.counters")

_own_tables: dict[tuple[int, int], CounterTable] = {}
"""This process's open tables, by device and inode of their files."""

_folder_lock = threading.Lock()  # record locks do not hold threads of one process apart


@dataclass(slots=True)
class Total:
    """The counters of all workers that have ended, and when counting began (seconds since the epoch)."""

    started_at: float
    endpoints: Endpoints = field(default_factory=dict)
    """By endpoint key, with the moment of the last request."""
    dropped_series: int = 0
    included: list[str] = field(default_factory=list)
    """Names of the files whose counters are in here already."""


@dataclass(slots=True)
class FolderContent:
    """What a reader found: the total of the ended workers, and a table for each one that lives."""

    total: Total
    live: list[TableReader]


def open_table(folder: Path, max_series: int) -> CounterTable:
    """A new table for this process, in a file of its own. Raises FolderError where the folder cannot serve."""
    try:
        statedir.prepare(folder)
        path = folder / f"worker-{os.getpid()}-{secrets.token_hex(4)}.counters"
        with _locked(folder):  # so that no reader meets the file before it is locked, and takes it for a dead worker's
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _reserve(descriptor, size_in_bytes(max_series))
                table = CounterTable(mmap.mmap(descriptor, size_in_bytes(max_series)), max_series)
            except BaseException:
                os.close(descriptor)
                _remove(path)
                raise
            # The descriptor stays open for the life of the process: closing it would give up the lock.
            _own_tables[_identity(os.fstat(descriptor))] = table
            table.path = path
        read_folder(folder)  # so that files do not pile up where nobody reads the metrics
    except FolderError:
        raise
    except OSError as error:
        raise FolderError(f"{folder}: {error.strerror or error}. {statedir.REMEDY}") from error
    return table


def leave_behind(folder: Path, table: CounterTable) -> None:
    """Leave the counters of a table that has no file as an ended worker's, to be folded in. Raises OSError."""
    for identity, own in list(_own_tables.items()):
        if own is table:
            del _own_tables[identity]  # its file is gone, and its inode may be given to another
    with _locked(folder):
        path = folder / f"worker-{os.getpid()}-{secrets.token_hex(4)}.counters"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(table.content())


def read_folder(folder: Path) -> FolderContent:
    """All counters of the folder, the files of ended workers folded into the total. Raises OSError."""
    with _locked(folder):
        total = _load_total(folder)
        names = os.listdir(folder)
        total.included = [name for name in total.included if name in names]  # those that a reader died before removing
        live: list[TableReader] = []
        ended: dict[str, TableReader | None] = {}
        for name in names:
            if _WORKER.fullmatch(name) and name not in total.included:
                _sort_in(folder / name, live, ended)
        included = list(total.included)
        readable = [reader for reader in ended.values() if reader is not None]
        for endpoint, last_seen in merging.summed(readable).values():
            merging.add(total.endpoints, endpoint, last_seen)
        total.dropped_series = max([total.dropped_series, *(reader.dropped_series for reader in readable)])
        if ended:
            total.endpoints = without_idle(total.endpoints)
            total.included += ended
            try:
                _save_total(folder, total)
            except OSError as error:  # the disk is full, say: this answer is right all the same, and the files stay for the next
                logger.warning("The counters of ended workers cannot be written to %s: %s", folder, error)
                total.included = included
        for name in total.included:
            _remove(folder / name)
        return FolderContent(total, live)


def without_idle(endpoints: Endpoints) -> Endpoints:
    """Without those that were not requested for long. A clock that is wrong now, or was for some request, drops nothing else."""
    now = time.time()
    newest = max((min(last_seen, now) for _endpoint, last_seen in endpoints.values()), default=0.0)
    return {key: item for key, item in endpoints.items() if newest - item[1] <= IDLE_SECONDS}


def forget_own_tables() -> None:
    """In a forked child: the parent's tables are not this process's."""
    global _folder_lock
    _own_tables.clear()
    _folder_lock = threading.Lock()


def _sort_in(path: Path, live: list[TableReader], ended: dict[str, TableReader | None]) -> None:
    """Read a worker's file, and tell whether the worker lives."""
    try:
        own = _own_tables.get(_identity(os.lstat(path)))
        if own is not None:
            live.append(TableReader(own.content()))
            return
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError as error:
        logger.warning("The counters in %s cannot be read, and are left out: %s", path, error)
        return
    lives = True
    try:
        lives = not _try_lock(descriptor)
        reader = TableReader(read_used_part(descriptor))
    except TableError as error:
        if lives:
            logger.warning("The counters of a running worker in %s are left out: %s", path, error)
        else:
            logger.warning("The counters in %s are dropped: %s", path, error)
            ended[path.name] = None
    else:
        if lives:
            live.append(reader)
        else:
            ended[path.name] = reader
    finally:
        os.close(descriptor)


def _load_total(folder: Path) -> Total:
    path = folder / _TOTAL
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        total = Total(started_at=time.time())
        _save_total(folder, total)
        return total
    try:
        document = wire.parse(content)
        extra = json.loads(content)
        last_seen = extra["last_seen"]
        return Total(
            started_at=float(document.started_at or 0.0),
            endpoints={key: (endpoint, float(last_seen[key])) for key, endpoint in document.endpoints.items()},
            dropped_series=document.dropped_series or 0,
            included=[str(name) for name in extra["included"]],
        )
    except (ValueError, KeyError, TypeError) as error:
        aside = folder / f"{_TOTAL}.unreadable"
        os.replace(path, aside)
        logger.warning("The counters of ended workers cannot be read and start anew; the file is kept as %s: %s", aside, error)
        total = Total(started_at=time.time())
        _save_total(folder, total)
        return total


def _save_total(folder: Path, total: Total) -> None:
    document = wire.MetricsDocument(None, {key: item[0] for key, item in total.endpoints.items()}, total.started_at)
    document.dropped_series = total.dropped_series
    content = wire.dump(document)
    content["last_seen"] = {key: item[1] for key, item in total.endpoints.items()}
    content["included"] = total.included
    temporary = folder / f"{_TOTAL}.new"  # one name is enough: the folder's lock is held
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, separators=(",", ":"))
    os.replace(temporary, folder / _TOTAL)


@contextmanager
def held(lock: threading.Lock, name: object) -> Iterator[None]:
    """Hold a lock under which a thread may wait, asking for it again and again instead of blocking.

    Under gevent a lock made before the worker was patched blocks the whole process, and with it the greenlet that holds it.
    """
    deadline = time.monotonic() + _PATIENCE
    while not lock.acquire(blocking=False):
        _wait_for(name, deadline)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    path = folder / _LOCK
    with held(_folder_lock, path):
        deadline = time.monotonic() + _PATIENCE
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            while not _try_lock(descriptor):
                _wait_for(path, deadline)
            yield
        finally:
            os.close(descriptor)


def _wait_for(name: object, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise FolderError(f"{name} is held by another process or thread that does not let go of it.")
    time.sleep(0.002)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except PermissionError:  # what POSIX allows instead of EAGAIN
        return False
    return True


def _reserve(descriptor: int, size: int) -> None:
    """Allocate the file's blocks: writing into a hole of a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.write(descriptor, bytes(size))


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _remove(path: Path) -> None:
    with suppress(OSError):
        os.unlink(path)
