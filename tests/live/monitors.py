"""A monitor of its own for a test: a Django project with a database and a few services to poll, run as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

from tests.scripted import Script, ScriptedServer, answers

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = """
from tests.settings import *

DATABASES = {{"default": {database!r}}}
MONITORING = {{"SERVICE_NAME": "tests", **{monitoring!r}}}
"""
REGISTER = """
import sys, django
django.setup()
from monitoring.models import Service
for number, url in enumerate(sys.argv[1:]):
    Service.objects.create(name=f"shop-{number}").instances.create(url=url)
"""
ASK = """
import json, sys, django
django.setup()
from django.db.models import Sum
from monitoring.models import *
print(json.dumps(eval(sys.argv[1]), default=str))
"""
FILL = """
import sys, django
django.setup()
from django.db import transaction
from monitoring.models import WaitingPoints, pack_lines
rows, points, first = map(int, sys.argv[2:])
with transaction.atomic():
    for row in range(rows):
        numbers = range(row * points, row * points + points)
        packed = pack_lines([f"{sys.argv[1]},row={row} count={number}i {first + number}" for number in numbers])
        WaitingPoints.objects.create(created_at=first + row, points=points, size=len(packed), lines=packed)
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


class Round(NamedTuple):
    """How a command ended."""

    code: int
    said: str
    errors: str


def sqlite(folder: Path, **options: object) -> dict[str, object]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "monitor.sqlite3"), "OPTIONS": options}


def influxdb(url: str, bucket: str = "fleet", **options: object) -> dict[str, object]:
    """An INFLUXDB setting."""
    return {"URL": url, "TOKEN": "s3cret", "ORG": "", "BUCKET": bucket, **options}


class Monitor:
    """A project with a database of its own, and services to poll."""

    def __init__(
        self, folder: Path, database: dict[str, object], scripts: list[Script] | None = None, **monitoring: object
    ) -> None:
        self.folder, self.database, self.monitoring = folder, database, monitoring
        self.configure()
        paths = os.pathsep.join([str(folder), str(ROOT)])
        self.env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "faults_settings",
            "PYTHONPATH": paths,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.servers = [ScriptedServer(one) for one in scripts or [Counting() for _ in range(6)]]
        self.run("-m", "django", "migrate", "--verbosity", "0")
        self.run("-c", REGISTER, *(server.url for server in self.servers))

    def configure(self, database: dict[str, object] | None = None, **monitoring: object) -> None:
        """Change the database, or entries of MONITORING, for the processes that start from now on."""
        self.database = database or self.database
        self.monitoring |= monitoring
        kept = {name: value for name, value in self.monitoring.items() if value is not None}
        (self.folder / "faults_settings.py").write_text(SETTINGS.format(database=self.database, monitoring=kept))

    def run(self, *arguments: str) -> str:
        done = subprocess.run([sys.executable, *arguments], env=self.env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    def ask(self, expression: str) -> Any:
        """The value of an expression over the models."""
        return json.loads(self.run("-c", ASK, expression))

    def fill(self, rows: int, points: int, first: int = 1_795_000_000_000, measurement: str = "backlog") -> None:
        """Put points into the outbox, as if they had been waiting: numbered, and a millisecond after the other."""
        self.run("-c", FILL, measurement, str(rows), str(points), str(first))

    def collectors(self, *arguments: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("-m", "tests.live.collectors", *map(str, arguments)).splitlines()[-1])
        return found

    def collect(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a collector."""
        command = [sys.executable, "-m", "django", "collect_metrics", *arguments]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def round(self, *arguments: str) -> Round:
        """One collector, from its start to its end."""
        return ended(self.collect(*arguments))

    @property
    def asked(self) -> list[int]:
        """How often each service was polled."""
        return [server.script.asked for server in self.servers if isinstance(server.script, Counting)]

    def close(self) -> None:
        for server in self.servers:
            server.close()


def ended(process: subprocess.Popen[str], by: signal.Signals | None = None) -> Round:
    """How it ended, by a signal or by itself."""
    if by is not None:
        process.send_signal(by)
    said, errors = process.communicate(timeout=120)
    return Round(process.returncode, said, errors)
