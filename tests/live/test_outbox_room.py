"""A disk without room, and a backlog of a million points."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.judges import STORED, Holding, polls, stamps
from tests.live.monitors import Monitor, ended, influxdb, sqlite
from tests.live.servers import wait_for
from tests.receiver import NO_CONTENT, Receiver


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() or not mount:
        pytest.skip("needs to be root, to mount a disk of two megabytes")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, timeout=30).returncode:
        pytest.skip("needs to be allowed to mount a disk of two megabytes")
    yield folder
    subprocess.run(["umount", folder], check=True, timeout=30)


def test_a_full_disk_loses_nothing_that_was_stored_and_counts_nothing_twice(small_disk: Path, receiver: Receiver) -> None:
    receiver.answers = [(503, {}, b"")]
    monitor = Monitor(small_disk, sqlite(small_disk), INFLUXDB=influxdb(receiver.url))
    monitor.round()
    before = monitor.round()
    assert "48 points wait" in before.errors
    ballast = small_disk / "ballast"
    _fill(ballast)
    full = monitor.round()
    assert (full.code, full.said) == (1, "")
    assert "disk I/O error: make room on the disk of the database" in full.errors
    with ballast.open("r+b") as file:  # enough to open the database, and for a few rounds
        file.truncate(ballast.stat().st_size - 200_000)
    for _ in range(40):
        full = monitor.round()
        if "not stored" in full.errors:
            break
    assert full.code == 1
    assert "database or disk is full: make room on the disk of the database" in full.errors
    asked = sum(monitor.asked)
    receiver.requests.clear()
    receiver.answers = [NO_CONTENT]
    monitor.round()  # it delivers, and cannot note that, or it can: whatever fits
    ballast.unlink()
    assert monitor.round()[::2] == (0, "")
    assert monitor.ask("waiting().points") == 0
    counted = monitor.ask("Interval.objects.filter(resolution=0).aggregate(total=Sum('count'))['total']")
    assert counted == sum((number - 1) * 303 for number in monitor.asked)
    stored = monitor.ask(STORED)
    assert polls(receiver.lines) == {(name, end) for name, end in stored}
    assert len(stored) < asked + 12
    monitor.close()


def _fill(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 (every file ends with it)


def peak(process: subprocess.Popen[str]) -> int:
    """Megabytes that the process has held at most so far; 0 where it has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def test_a_million_points_wait(tmp_path: Path, receiver: Receiver) -> None:
    """Memory stays what it is without them, about 80 MB, and the newest poll is stored before they are delivered."""
    monitor = Monitor(tmp_path, sqlite(tmp_path), INFLUXDB=influxdb(receiver.url))
    monitor.fill(rows=1000, points=1000)
    holding = Holding()
    receiver.judge = holding
    process = monitor.collect("--loop", "--every", "1")
    assert holding.took.wait(60)
    assert monitor.ask("[Availability.objects.filter(resolution=0).count(), waiting().points]") == [6, 1_000_024]
    holding.answer.set()
    most = 0

    def rounds() -> bool:
        nonlocal most
        most = max(most, peak(process))
        assert process.poll() is None
        return min(monitor.asked) > 3 and len(receiver.lines) > 1_000_000

    wait_for(rounds, 240, what="the backlog to be delivered")
    done = ended(process, signal.SIGTERM)
    assert done.errors.replace("Ending as soon as this round is done; a second signal ends at once.\n", "") == ""
    assert 20 < most < 200
    lines = [line for line in receiver.lines if line.startswith("backlog,")]
    assert len(lines) == 1_000_000
    assert stamps(lines) == sorted(set(stamps(lines)))
    monitor.close()
