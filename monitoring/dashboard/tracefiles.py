"""The trace logs that the monitor may read: found by their patterns, opened with care, read from their end.

Whoever may write into a folder of logs decides what lies there. So only regular files are opened: a FIFO would hold the page, a
device can do anything, a symbolic link leads anywhere. Nothing is mapped: a mapped file that somebody truncates ends the process.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
import zlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

MAX_FILES = 500
"""How many files are searched, the newest of those that match: each may have to be open at the same time."""

_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))
_GZIP = b"\x1f\x8b"
_READ = 64 * 1024  # of a compressed file, at a time
_OTHERWISE_COMPRESSED = (".xz", ".zst", ".bz2", ".lz4", ".zip")


class UnreadableLogError(Exception):
    """A file that cannot be read, or not further: why, as a part of a sentence that begins with its path."""


@dataclass(frozen=True, slots=True)
class LogFile:
    """A regular file that a pattern matches."""

    path: str
    size: int
    """Bytes, as they lie on the disk."""
    modified: float
    """When it was last written, in seconds since the epoch."""
    identity: tuple[int, int]
    """Device and inode."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is not searched, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file: each ends with a line break, but the last one of the file may not."""

    data: bytes
    older_follows: bool
    """Whether the next block is of older lines, as it is where a file is read backwards."""
    is_last: bool


def find(patterns: Iterable[str]) -> tuple[list[LogFile], list[Trouble]]:
    """The files that the patterns match, each once, the newest first; and what was left out. A name that exists is no pattern."""
    files: dict[tuple[int, int], LogFile] = {}
    troubles: dict[str, str] = {}
    for pattern in patterns:
        named = os.path.lexists(pattern)
        paths = [pattern] if named else sorted(glob.glob(pattern))
        if not paths:
            troubles[pattern] = _why_nothing_matches(pattern)
        for path in paths:
            try:
                file = _look_at(path)
            except UnreadableLogError as error:
                if named or not os.path.isdir(path):  # a folder beside the files is nothing to tell
                    troubles[path] = str(error)
            else:
                files.setdefault(file.identity, file)
    newest = sorted(files.values(), key=lambda file: (-file.modified, file.path))
    if len(newest) > MAX_FILES:
        troubles["TRACE_LOGS"] = f"matches {len(newest):,} files: only the {MAX_FILES} that were written last are searched"
    return newest[:MAX_FILES], [Trouble(readable(path), reason) for path, reason in troubles.items()]


def blocks(file: LogFile, size: int) -> Generator[Block, None, None]:
    """Blocks of about so many bytes: of a plain file the newest first, of a gzip file in its order. Raises UnreadableLogError.

    A line that is longer than a block is left out. Bytes that are written after the file was opened are not read.
    """
    try:
        descriptor = os.open(file.path, _FLAGS)
    except OSError as error:
        raise UnreadableLogError(_why(error)) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) != file.identity:
            raise UnreadableLogError("was removed or rotated meanwhile: search again")
        is_gzip = os.read(descriptor, 2) == _GZIP
        yield from _unzipped(descriptor, size) if is_gzip else _backwards(descriptor, status.st_size, size)
    except (OSError, zlib.error) as error:
        raise UnreadableLogError(_why(error)) from None
    finally:
        os.close(descriptor)


def readable(path: str) -> str:
    """A path as it can be shown: names of files are bytes, which need not be text."""
    return os.fsencode(path).decode("utf-8", "replace")


def _look_at(path: str) -> LogFile:
    try:
        status = os.lstat(path)
    except OSError as error:
        raise UnreadableLogError(_why(error)) from None
    if stat.S_ISLNK(status.st_mode):
        raise UnreadableLogError("is a symbolic link, which is not followed: name the file it leads to")
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableLogError("is a folder: name its files, as in /var/log/trace/*.log")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableLogError("is no regular file but a FIFO, a socket or a device")
    if path.endswith(_OTHERWISE_COMPRESSED):
        raise UnreadableLogError("is compressed otherwise than with gzip")
    return LogFile(path, status.st_size, status.st_mtime, (status.st_dev, status.st_ino))


def _backwards(descriptor: int, end: int, size: int) -> Iterator[Block]:
    torn = False  # whether what stands last before `end` is the beginning of a line that is too long
    while end > 0:
        start = max(0, end - size)
        os.lseek(descriptor, start, os.SEEK_SET)
        data = os.read(descriptor, end - start)
        if not data:
            raise UnreadableLogError("was truncated while it was read: search again")
        if torn:
            data = data[: data.rfind(b"\n") + 1]
        if start == 0:
            yield Block(data, older_follows=True, is_last=True)
            return
        first = data.find(b"\n") + 1  # before it stands the rest of a line that begins in the block before
        torn = first == 0 or start + first == end
        end = start if torn else start + first
        yield Block(b"" if torn else data[first:], older_follows=True, is_last=False)


def _unzipped(descriptor: int, size: int) -> Iterator[Block]:
    """A block for each read, many of them empty, so that whoever asks can stop.

    No more is unpacked at a time than is asked for: a small file that unpacks to a huge one costs what a block costs.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    member = zlib.decompressobj(wbits=31)
    packed, lines, torn = b"", b"", False
    while True:
        packed = packed or os.read(descriptor, _READ)
        ended = not packed
        lines += member.decompress(packed, size)
        packed = member.unconsumed_tail
        if member.eof:  # gzip files may be appended to each other
            packed = member.unused_data
            member = zlib.decompressobj(wbits=31)
        if torn:  # until the line that is too long has ended
            first = lines.find(b"\n") + 1
            torn, lines = first == 0, lines[first:] if first else b""
        if ended:
            break
        block = b""
        if len(lines) >= size:
            last = lines.rfind(b"\n") + 1
            torn = last == 0
            block, lines = lines[:last], b"" if torn else lines[last:]
        yield Block(block, older_follows=False, is_last=False)
    yield Block(lines, older_follows=False, is_last=True)


def _why_nothing_matches(pattern: str) -> str:
    folder = os.path.dirname(pattern)
    if glob.has_magic(folder):
        return "matches no file"
    if not os.path.isdir(folder):
        return f"matches no file: the folder {readable(folder)} is not there, or the monitor's user may not reach it"
    if not os.access(folder, os.R_OK | os.X_OK):
        return "matches no file: the monitor's user may not look into the folder"
    return "matches no file" if glob.has_magic(pattern) else "is not there"


def _why(error: OSError | zlib.error) -> str:
    if isinstance(error, zlib.error):
        return f"is damaged, and not read further ({error})"
    if error.errno in (errno.ENOENT, errno.ESTALE, errno.ELOOP):
        return "was removed or rotated meanwhile: search again"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "may not be read by the monitor's user: give it the right to, for instance through its group"
    return f"cannot be read: {error.strerror or error}"
