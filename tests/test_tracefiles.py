"""Trace log files: which are opened, and their blocks from the end."""

from __future__ import annotations

import gzip
import os
import random
import socket
from pathlib import Path

import pytest

from monitoring.dashboard import tracefiles
from monitoring.dashboard.tracefiles import UnreadableLogError, blocks, find

linux = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs (not on Windows)")


def read(path: Path, size: int) -> list[bytes]:
    (file,), _ = find([str(path)])
    return [block.data for block in blocks(file, size)]


def reasons(*patterns: str | Path) -> dict[str, str]:
    return {trouble.path: trouble.reason for trouble in find(map(str, patterns))[1]}


def test_patterns_and_names_give_each_file_once_the_newest_first(tmp_path: Path) -> None:
    for name, age in (("a.log", 30), ("b.log", 10), ("b.log.1", 20), ("b.log.2.gz", 40), ("other.txt", 0)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1e9, 1e9 - age))
    os.link(tmp_path / "a.log", tmp_path / "again.log")
    files, troubles = find([f"{tmp_path}/*.log*", f"{tmp_path}/a.log", str(tmp_path / "?.log")])
    assert [os.path.basename(file.path) for file in files] == ["b.log", "b.log.1", "a.log", "b.log.2.gz"]
    assert troubles == []


def test_a_name_that_exists_is_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "[shop]"
    folder.mkdir()
    (folder / "trace*.log").touch()
    (folder / "trace1.log").touch()
    files, _ = find([str(folder / "trace*.log")])
    assert [os.path.basename(file.path) for file in files] == ["trace*.log"]


@linux
def test_what_is_no_regular_file_is_not_opened_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.log")  # to open it would wait for ever
    secret = tmp_path / "secret"
    secret.write_text("2024/10/07 ...")
    (tmp_path / "link.log").symlink_to(secret)
    (tmp_path / "dangling.log").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.log").mkdir()
    (tmp_path / "old.log.xz").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # a path of a socket is short
        listener.bind("socket.log")
    files, troubles = find([f"{tmp_path}/*.log*", "/dev/null", f"{tmp_path}/folder.log"])
    assert files == []
    said = {os.path.basename(trouble.path): trouble.reason for trouble in troubles}
    assert said.keys() == {"pipe.log", "link.log", "dangling.log", "socket.log", "old.log.xz", "null", "folder.log"}
    assert "FIFO" in said["pipe.log"]
    assert "symbolic link" in said["link.log"]
    assert "device" in said["null"]
    assert "gzip" in said["old.log.xz"]
    assert "name its files" in said["folder.log"]  # as it was named; a pattern that matches a folder is no mistake


@linux
@pytest.mark.parametrize("become", ["fifo", "link", "other", "gone"])
def test_a_file_that_became_another_between_looking_and_opening(tmp_path: Path, become: str) -> None:
    log = tmp_path / "trace.log"
    log.write_text("a\n")
    (file,), _ = find([str(log)])
    log.rename(tmp_path / "trace.log.1")
    if become == "fifo":
        os.mkfifo(log)
    elif become == "link":
        log.symlink_to(tmp_path / "trace.log.1")
    elif become == "other":
        log.write_text("b\n")
    with pytest.raises(UnreadableLogError, match="removed or rotated"):
        list(blocks(file, 100))


def test_why_nothing_matches(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    said = reasons(tmp_path / "logs/*.log", tmp_path / "missing/*.log", tmp_path / "logs/trace.log", tmp_path / "*/x.log")
    assert said[f"{tmp_path}/logs/*.log"] == "matches no file"
    assert "missing is not there" in said[f"{tmp_path}/missing/*.log"]
    assert said[f"{tmp_path}/logs/trace.log"] == "is not there"
    assert said[f"{tmp_path}/*/x.log"] == "matches no file"


def test_a_refusal_is_told_as_one() -> None:
    assert "monitor's user" in tracefiles._why(PermissionError(13, "Permission denied"))
    assert tracefiles._why(OSError(5, "Input/output error")) == "cannot be read: Input/output error"


def test_only_so_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracefiles, "MAX_FILES", 2)
    for number in range(4):
        (tmp_path / f"{number}.log").touch()
        os.utime(tmp_path / f"{number}.log", (number, number))
    files, (trouble,) = find([f"{tmp_path}/*.log"])
    assert [os.path.basename(file.path) for file in files] == ["3.log", "2.log"]
    assert "matches 4 files" in trouble.reason


@linux
def test_a_name_that_is_no_text_can_be_shown(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff<b>.log"
    with open(name, "wb"):
        pass
    (file,), _ = find([f"{tmp_path}/*.log"])
    assert tracefiles.readable(file.path).encode().endswith("/\ufffd<b>.log".encode())


@pytest.mark.parametrize("size", [64, 100, 1000, 100_000])
def test_blocks_are_whole_lines_from_the_end(tmp_path: Path, size: int) -> None:
    chance = random.Random(size)
    lines = [b"%d %s\n" % (number, b"x" * chance.randrange(50)) for number in range(500)]
    (tmp_path / "trace.log").write_bytes(b"".join(lines) + b"half")
    found = read(tmp_path / "trace.log", size)
    assert [one for block in reversed(found) for one in block.splitlines(keepends=True)] == [*lines, b"half"]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("length", [63, 64, 65, 127, 128, 129, 1000])
def test_a_line_longer_than_a_block_is_left_out_alone(tmp_path: Path, length: int, zipped: bool) -> None:
    log = tmp_path / "trace.log"
    data = b"a\n" * 40 + b"x" * length + b"\n" + b"b\n" * 40
    log.write_bytes(gzip.compress(data) if zipped else data)
    found = b"".join(read(log, 64))
    assert found.count(b"a\n") == found.count(b"b\n") == 40
    assert set(found) <= set(b"abx\n")
    if length > 130:
        assert b"x" not in found


def test_a_file_without_a_line_break(tmp_path: Path) -> None:
    (tmp_path / "trace.log").write_bytes(b"\0" * 10_000)
    assert b"".join(read(tmp_path / "trace.log", 64)).strip(b"\0") == b""
    (tmp_path / "empty.log").touch()
    assert read(tmp_path / "empty.log", 64) == []


def test_a_file_that_is_truncated_meanwhile(tmp_path: Path) -> None:
    log = tmp_path / "trace.log"
    log.write_bytes(b"line\n" * 1000)
    (file,), _ = find([str(log)])
    reading = blocks(file, 100)
    next(reading)
    os.truncate(log, 0)
    with pytest.raises(UnreadableLogError, match="truncated"):
        list(reading)


def test_what_is_written_after_opening_is_not_read(tmp_path: Path) -> None:
    log = tmp_path / "trace.log"
    log.write_bytes(b"old\n" * 100)
    (file,), _ = find([str(log)])
    reading = blocks(file, 100)
    found = [next(reading).data]
    with log.open("ab") as appending:
        appending.write(b"new\n" * 100)
    found += [block.data for block in reading]
    assert b"".join(found) == b"old\n" * 100


@pytest.mark.parametrize("size", [64, 1000, 1_000_000])
def test_a_gzip_file_is_read_whatever_its_name(tmp_path: Path, size: int) -> None:
    lines = [b"%d\n" % number for number in range(5000)]
    log = tmp_path / "trace.log.1"
    log.write_bytes(gzip.compress(b"".join(lines[:2000])) + gzip.compress(b"".join(lines[2000:]) + b"half"))
    assert b"".join(read(log, size)) == b"".join(lines) + b"half"


def test_a_gzip_file_that_is_damaged_gives_what_comes_before(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(os.urandom(200_000).hex().encode() + b"\n" + b"a\n"))
    data[150_000:150_100] = b"\0" * 100
    (tmp_path / "trace.log.gz").write_bytes(data)
    with pytest.raises(UnreadableLogError, match="is damaged"):
        read(tmp_path / "trace.log.gz", 1000)
    whole = gzip.compress(b"a\n" * 1000)
    (tmp_path / "half.gz").write_bytes(whole[:-8])  # still being written
    assert b"".join(read(tmp_path / "half.gz", 100)) == b"a\n" * 1000


def test_a_gzip_bomb_is_unpacked_in_blocks(tmp_path: Path) -> None:
    log = tmp_path / "trace.log.gz"
    log.write_bytes(gzip.compress(b"\0" * 50_000_000 + b"\n" + b"a\n"))
    (file,), _ = find([str(log)])
    sizes = [len(block.data) for block in blocks(file, 10_000)]
    assert max(sizes) <= 20_000
    assert sum(sizes) == 2  # the line of zeros is too long to be one


def test_a_gzip_file_of_nothing_but_members_lets_others_in_between(tmp_path: Path) -> None:
    log = tmp_path / "trace.log.gz"
    log.write_bytes(gzip.compress(b"") * 1000)
    (file,), _ = find([str(log)])
    assert sum(1 for _ in blocks(file, 10_000)) >= 1000


def test_a_reader_that_is_left_closes_its_file(tmp_path: Path) -> None:
    log = tmp_path / "trace.log"
    log.write_bytes(b"line\n" * 1000)
    (file,), _ = find([str(log)])
    open_before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    reading = blocks(file, 100)
    next(reading)
    reading.close()
    if open_before:
        assert len(os.listdir("/proc/self/fd")) == open_before
