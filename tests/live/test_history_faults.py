"""What may happen to a collector and its database: it is killed, it is not alone, the database is locked, or full."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.postgresql import needs_postgresql
from tests.live.servers import wait_for
from tests.scripted import ScriptedServer, answers

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = """
from tests.settings import *

DATABASES = {{"default": {database!r}}}
"""
REGISTER = """
import sys, django
django.setup()
from monitoring.models import Service
for number, url in enumerate(sys.argv[1:]):
    Service.objects.create(name=f"shop-{number}").instances.create(url=url)
"""
COUNT = """
import django
django.setup()
from django.db.models import Sum
from monitoring.models import Interval
print(Interval.objects.aggregate(total=Sum("count"))["total"] or 0)
"""


class Counting:
    """A service that has counted more each time it is asked: three endpoints, each at a pace of its own."""

    def __init__(self) -> None:
        self.asked = 0
        self.lock = threading.Lock()

    def __call__(self, connection: Any, over: threading.Event) -> None:
        with self.lock:
            self.asked += 1
            metrics = {
                f"GET/{pace}": {
                    "count": self.asked * pace,
                    "avg_duration": 0.5,
                    "status_codes": {"200": self.asked * pace},
                    "buckets": {"-4": self.asked * pace},
                }
                for pace in (1, 2, 300)
            }
        answers({"metrics": metrics, "started_at": 1.0, "histogram_scale": 2})(connection, over)


class Monitor:
    """A project with a database of its own, and services to poll."""

    def __init__(self, folder: Path, database: dict[str, object]) -> None:
        self.folder = folder
        self.configure(database)
        paths = os.pathsep.join([str(folder), str(ROOT)])
        self.env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "faults_settings",
            "PYTHONPATH": paths,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.servers = [ScriptedServer(Counting()) for _ in range(6)]
        self.run("-m", "django", "migrate", "--verbosity", "0")
        self.run("-c", REGISTER, *(server.url for server in self.servers))

    def configure(self, database: dict[str, object]) -> None:
        (self.folder / "faults_settings.py").write_text(SETTINGS.format(database=database))

    def run(self, *arguments: str) -> str:
        done = subprocess.run([sys.executable, *arguments], env=self.env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    def collectors(self, *arguments: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("-m", "tests.live.collectors", *map(str, arguments)).splitlines()[-1])
        return found

    def collect(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "django", "collect_metrics"]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def close(self) -> None:
        for server in self.servers:
            server.close()


def sqlite(folder: Path, **options: object) -> dict[str, object]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "monitor.sqlite3"), "OPTIONS": options}


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
    def collect() -> tuple[int, str]:
        process = on_sqlite.collect()
        _, errors = process.communicate(timeout=60)
        return process.returncode, errors

    assert collect() == (0, "")
    assert collect() == (0, "")
    stored = int(on_sqlite.run("-c", COUNT))
    assert stored == 6 * 303
    on_sqlite.configure(sqlite(on_sqlite.folder, init_command="PRAGMA max_page_count = 1"))  # as large as it is, and no larger
    with sqlite3.connect(on_sqlite.folder / "monitor.sqlite3") as connection:
        connection.execute("VACUUM")  # no free page is left in it
    connection.close()
    for _ in range(40):  # the last page of each table has some room left
        code, errors = collect()
        if code:
            break
    assert code == 1
    assert "polled, but not stored (OperationalError: database or disk is full)" in errors
    on_sqlite.configure(sqlite(on_sqlite.folder))
    assert collect() == (0, "")
    asked = [server.script.asked for server in on_sqlite.servers]  # type: ignore[attr-defined]
    assert int(on_sqlite.run("-c", COUNT)) == sum((number - 1) * 303 for number in asked)
