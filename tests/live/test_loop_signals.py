"""collect_metrics --loop as a real process: it polls, survives failures, and ends as its signals say."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.servers import wait_for
from tests.scripted import Script, ScriptedServer, answers

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = """
from tests.settings import *

DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {database!r}}}}}
"""
ENDING = "Ending as soon as this round is done; a second signal ends at once."
REGISTER = """
import sys
import django

django.setup()
from monitoring.models import Service

for line in sys.argv[1:]:
    name, url = line.split("=")
    Service.objects.create(name=name, timeout=300).instances.create(url=url)
"""


class Project:
    """A project with a database file of its own, and processes of its manage.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "monitor.sqlite3"
        (folder / "loop_settings.py").write_text(SETTINGS.format(database=str(self.database)))
        paths = os.pathsep.join([str(folder), str(ROOT)])
        self.env = {**os.environ, "DJANGO_SETTINGS_MODULE": "loop_settings", "PYTHONPATH": paths}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.run("-m", "django", "migrate", "--verbosity", "0")

    def run(self, *arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], env=self.env, check=True, timeout=120)

    def register(self, **urls: str) -> None:
        self.run("-c", REGISTER, *(f"{name}={url}" for name, url in urls.items()))

    def collect(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "django", "collect_metrics", *arguments]
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.processes.append(subprocess.Popen(command, env=self.env, stdout=out, stderr=err))
        return self.processes[-1]

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def err(self) -> Path:
        return self.folder / "err"

    def stored(self, query: str) -> int:
        with sqlite3.connect(self.database) as connection:
            return int(connection.execute(query).fetchone()[0])

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Script], ScriptedServer]]:
    servers: list[ScriptedServer] = []

    def start(script: Script) -> ScriptedServer:
        servers.append(ScriptedServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


class Gate:
    """A service that answers only once it may."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, connection: socket.socket, over: threading.Event) -> None:
        self.reached.set()
        self.open.wait(60)
        answers({"metrics": {}})(connection, over)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_polls_on_and_ends_between_rounds(
    project: Project, serve: Callable[[Script], ScriptedServer], number: signal.Signals
) -> None:
    project.register(shop=serve(answers({"metrics": {}})).url, broken=serve(answers("", "500 Oops")).url)
    process = project.collect("--loop", "--every", "0.2")
    wait_for(lambda: project.stored("SELECT count(*) FROM monitoring_interval") >= 3, what="three intervals")
    process.send_signal(number)
    assert process.wait(30) == 0
    assert "shop    ok" in project.out.read_text()
    assert "1 of 2 services failed:\n  broken: 127.0.0.1:" in project.err.read_text()


def test_the_schedule_without_cron(project: Project, serve: Callable[[Script], ScriptedServer]) -> None:
    """A service is due at the first full minute after its registration; here it is registered since long."""
    project.register(shop=serve(answers({"metrics": {}})).url)
    with sqlite3.connect(project.database) as connection:
        connection.execute("UPDATE monitoring_service SET registered_at = '2024-01-01 00:00:00'")
    process = project.collect("--loop")
    wait_for(lambda: project.stored("SELECT count(*) FROM monitoring_baseline") == 1, what="the first poll")
    process.terminate()
    assert process.wait(30) == 0


def test_a_signal_lets_the_round_finish(project: Project, serve: Callable[[Script], ScriptedServer]) -> None:
    gate = Gate()
    project.register(shop=serve(gate).url)
    process = project.collect("--loop", "--every", "3600")
    assert gate.reached.wait(60)
    process.terminate()
    wait_for(lambda: ENDING in project.err.read_text(), what="the notice")
    assert process.poll() is None
    gate.open.set()
    assert process.wait(30) == 0
    assert project.stored("SELECT count(*) FROM monitoring_baseline") == 1


class Counting:
    """A service that has counted one request more each time it is asked."""

    def __init__(self) -> None:
        self.count = 1000
        self.lock = threading.Lock()

    def __call__(self, connection: socket.socket, over: threading.Event) -> None:
        with self.lock:
            self.count += 1
            one = {"count": self.count, "avg_duration": 0.5, "status_codes": {"200": self.count}}
        answers({"metrics": {"GET/": one}, "started_at": 1.0})(connection, over)


def test_collectors_that_overlap_neither_lock_each_other_out_nor_count_twice(
    project: Project, serve: Callable[[Script], ScriptedServer]
) -> None:
    project.register(**{f"shop{number}": serve(Counting()).url for number in range(8)})
    collectors = [project.collect("--loop", "--every", "0.05") for _ in range(3)]
    wait_for(lambda: project.stored("SELECT count(*) FROM monitoring_interval") >= 400, what="four hundred rows")
    for process in collectors:
        process.terminate()
    assert [process.wait(60) for process in collectors] == [0, 0, 0]
    assert set(project.err.read_text().splitlines()) <= {ENDING}
    total = project.stored("SELECT sum(count) FROM monitoring_interval")
    count = "json_extract(document, '$[2][0][2]')"
    grown = project.stored(f"SELECT sum({count} - 1000) FROM monitoring_baseline")
    assert grown - 8 * 3 <= total < grown  # less what each of the eight had counted by its first poll, by one of the three


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(
    project: Project, serve: Callable[[Script], ScriptedServer], second: signal.Signals
) -> None:
    gate = Gate()
    project.register(shop=serve(gate).url)
    process = project.collect("--loop", "--every", "3600")
    assert gate.reached.wait(60)
    process.send_signal(signal.SIGINT)
    wait_for(lambda: ENDING in project.err.read_text(), what="the notice")
    process.send_signal(second)
    assert process.wait(30) == 128 + second
    assert project.stored("SELECT count(*) FROM monitoring_baseline") == 0


def test_ctrl_c_in_one_pass_does_not_wait_for_a_service_that_hangs(
    project: Project, serve: Callable[[Script], ScriptedServer]
) -> None:
    gate = Gate()
    project.register(shop=serve(gate).url)
    process = project.collect()
    assert gate.reached.wait(60)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
