"""collect_metrics --due, a process each minute as cron starts it, where the clock is set and where summer time comes and goes."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from monitoring.models import Resolution
from tests.live.servers import requires
from tests.scripted import ScriptedServer, answers

ROOT = Path(__file__).resolve().parent.parent.parent
NOON = datetime(2026, 3, 1, 12, 0, 5, tzinfo=timezone.utc)
SETTINGS = """
from tests.settings import *

DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {database!r}}}}}
TIME_ZONE = "Europe/Berlin"
"""
REGISTER = """
import datetime, sys
import django

django.setup()
from monitoring.models import Service

since = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
service = Service.objects.create(name="shop", schedule=sys.argv[1], registered_at=since)
service.instances.create(url=sys.argv[2], registered_at=since)
"""

pytestmark = requires("faketime")

POLL = Resolution.POLL.value


class Machine:
    """A project on a machine whose clock shows what it is told."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "monitor.sqlite3"
        (folder / "clock_settings.py").write_text(SETTINGS.format(database=str(self.database)))
        paths = os.pathsep.join([str(folder), str(ROOT)])
        self.env = {**os.environ, "DJANGO_SETTINGS_MODULE": "clock_settings", "PYTHONPATH": paths}
        self.count = 1000
        self.lock = threading.Lock()
        self.server = ScriptedServer(self.answer)
        self.run(None, "-m", "django", "migrate", "--verbosity", "0")

    def answer(self, connection, over) -> None:  # type: ignore[no-untyped-def]
        with self.lock:
            self.count += 10
            one = {"count": self.count, "avg_duration": 0.5, "status_codes": {"200": self.count}}
        answers(json.dumps({"metrics": {"GET/": one}, "started_at": 1.0}))(connection, over)

    def register(self, schedule: str) -> None:
        self.run(None, "-c", REGISTER, schedule, self.server.url)

    def run(self, now: datetime | None, *arguments: str) -> str:
        # Only the clock is another one: no wait gets longer or shorter by it.
        shown = [] if now is None else ["faketime", "-m", "--exclude-monotonic", "-f", f"@{now.astimezone(timezone.utc):%F %T}"]
        env = {**self.env, "TZ": "UTC"}
        done = subprocess.run([*shown, sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def polls(self, now: datetime) -> bool:
        """Whether a tick at this moment polls."""
        before = len(self.server.requests)
        self.run(now, "-m", "django", "collect_metrics", "--due")
        return len(self.server.requests) > before

    def query(self, text: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(self.database) as connection:
            return connection.execute(text).fetchall()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.server.close()


def test_clocks_that_are_set_cost_no_poll_and_no_count(machine: Machine) -> None:
    machine.register("* * * * *")
    minute = timedelta(minutes=1)
    for start in (NOON, NOON - timedelta(hours=1), NOON + timedelta(days=1), NOON + 2 * minute):
        for tick in (start, start + minute):
            assert machine.polls(tick), tick
            assert not machine.polls(tick + timedelta(seconds=10)), "the slot was served"
    (total,) = machine.query(f"SELECT sum(count) FROM monitoring_interval WHERE resolution = {POLL}")
    assert total == (machine.count - 1010,), "nothing lost, nothing double"
    assert machine.query("SELECT count(*) FROM monitoring_interval WHERE covered < 0") == [(0,)]
    ((failures, error),) = machine.query("SELECT failures, last_error FROM monitoring_instance")
    assert (failures, error) == (0, "")


@pytest.mark.parametrize(
    ("schedule", "midnight", "expected"),
    [
        ("30 2 * * *", datetime(2026, 3, 29, tzinfo=timezone.utc), ["01:00"]),  # 03:00 in Berlin: there is no 02:30
        ("30 2 * * *", datetime(2026, 10, 25, tzinfo=timezone.utc), ["00:30"]),  # the first 02:30 of two
        ("0 * * * *", datetime(2026, 3, 29, tzinfo=timezone.utc), ["00:00", "01:00", "02:00"]),
        ("0 * * * *", datetime(2026, 10, 25, tzinfo=timezone.utc), ["00:00", "01:00", "02:00"]),
    ],
)
def test_summer_time(machine: Machine, schedule: str, midnight: datetime, expected: list[str]) -> None:
    machine.register(schedule)
    moments = [midnight + timedelta(minutes=minutes, seconds=5) for minutes in range(0, 150, 30)]
    assert [f"{moment:%H:%M}" for moment in moments if machine.polls(moment)] == expected
