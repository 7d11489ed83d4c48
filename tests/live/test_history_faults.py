"""What may happen to a collector and its database: it is killed, it is not alone, the database is locked, or full."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.monitors import Monitor, sqlite
from tests.live.postgresql import needs_postgresql
from tests.live.servers import wait_for

COUNT = "Interval.objects.aggregate(total=Sum('count'))['total'] or 0"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgresql)])
def monitor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Monitor]:
    database = sqlite(tmp_path)
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql")
        name = f"faults_{random.getrandbits(32):08x}"
        server.create_database(name)
        database = server.settings(name)
    made = Monitor(tmp_path, database)
    yield made
    made.close()


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Monitor]:
    made = Monitor(tmp_path, sqlite(tmp_path))
    yield made
    made.close()


def assert_nothing_missing_nothing_double(found: dict[str, Any]) -> None:
    assert found["failed"] == {}
    assert found["rolled_up"] == 6
    assert len(found["grown"]) == 18
    assert min(found["grown"].values()) > 0
    for resolution, sums in found["history"].items():
        assert sums == found["grown"], resolution
    assert set(found["totals"]) == {sum(found["grown"].values())}
    assert len(set(found["polls"])) == 1


def test_killed_at_fifty_random_moments(monitor: Monitor) -> None:
    seed = random.getrandbits(32)
    print(f"seed {seed}")  # shown where the test fails
    assert_nothing_missing_nothing_double(monitor.collectors("killed", 50, seed))


def test_collectors_at_once(monitor: Monitor) -> None:
    assert_nothing_missing_nothing_double(monitor.collectors("together", 3, 300))


def test_a_database_that_is_locked_is_waited_for(on_sqlite: Monitor) -> None:
    database = on_sqlite.folder / "monitor.sqlite3"
    with sqlite3.connect(database, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        process = on_sqlite.collect()
        held = time.monotonic() + 6  # SQLite's and Django's own patience ends after five seconds
        wait_for(lambda: time.monotonic() > held, what="six seconds to pass")
        assert process.poll() is None
        other.execute("ROLLBACK")
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    other.close()


def test_a_full_disk_fails_the_round_loudly_and_the_next_one_catches_up(on_sqlite: Monitor) -> None:
    assert on_sqlite.round()[::2] == (0, "")
    assert on_sqlite.round()[::2] == (0, "")
    stored = on_sqlite.ask(COUNT)
    assert stored == 6 * 303
    on_sqlite.configure(sqlite(on_sqlite.folder, init_command="PRAGMA max_page_count = 1"))  # as large as it is, and no larger
    with sqlite3.connect(on_sqlite.folder / "monitor.sqlite3") as connection:
        connection.execute("VACUUM")  # no free page is left in it
    connection.close()
    for _ in range(40):  # the last page of each table has some room left
        code, _, errors = on_sqlite.round()
        if code:
            break
    assert code == 1
    assert "polled, but not stored (OperationalError: database or disk is full: make room on the disk of the database)" in errors
    on_sqlite.configure(sqlite(on_sqlite.folder))
    assert on_sqlite.round()[::2] == (0, "")
    assert on_sqlite.ask(COUNT) == sum((number - 1) * 303 for number in on_sqlite.asked)
