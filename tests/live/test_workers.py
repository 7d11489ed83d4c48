"""Counts are exact over any number of real worker processes, whatever becomes of them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.live.load import Load
from tests.live.servers import free_port, wait_for

PROJECT = Path(__file__).resolve().parents[2]
ITEM = "GET/items/<int:pk>/"


class Server:
    """A server process of the shop, its workers, and what /metrics says."""

    def __init__(self, command: list[str], state_dir: Path, log: Path, port: int) -> None:
        self.port, self.state_dir = port, state_dir
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env={**os.environ, "STATE_DIR": str(state_dir), "DJANGO_SETTINGS_MODULE": "tests.live.shop"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(lambda: self.metrics() is not None, 60, f"an answer (see {log})")
        except BaseException:
            self.end()
            raise

    def metrics(self) -> dict:
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as response:
            return json.load(response)

    def count(self, key: str = ITEM) -> int:
        return self.metrics()["metrics"].get(key, {"count": 0})["count"]

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(60)


def gunicorn(*options: str, application: str = "tests.live.shop:application") -> tuple[list[str], int]:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--graceful-timeout", "5", *options, application]
    return command, port


@contextmanager
def serving(tmp_path: Path, command: list[str], port: int) -> Iterator[Server]:
    server = Server(command, tmp_path / "state", tmp_path / "log", port)
    try:
        yield server
    finally:
        server.end()


WORKERS = [
    ("--workers=1",),
    ("--workers=4",),
    ("--workers=8", "--preload"),
    ("--workers=4", "--preload"),
    ("--workers=2", "--worker-class=gthread", "--threads=8"),
    ("--workers=2", "--worker-class=gthread", "--threads=8", "--preload"),
    ("--workers=4", "--worker-class=gevent"),
    ("--workers=4", "--worker-class=gevent", "--preload"),
    ("--workers=4", "--max-requests=20", "--max-requests-jitter=10"),
]


@pytest.mark.parametrize("options", WORKERS, ids=" ".join)
def test_any_worker_reports_the_sum_of_all(tmp_path, options):
    with serving(tmp_path, *gunicorn(*options)) as server:
        load = Load(server.port, threads=8, each=50)
        load.join()
        assert (load.answered, load.failed) == (400, 0)
        for _ in range(10):  # any worker may answer
            document = server.metrics()
            assert document["metrics"][ITEM]["count"] == 400
            assert document["metrics"][ITEM]["status_codes"] == {"200": 400}
            assert sum(document["metrics"][ITEM]["buckets"].values()) == 400
            assert "warning" not in document
        assert len(list((tmp_path / "state").glob("worker-*"))) <= 10


def test_asgi_workers(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--workers", "3", "tests.live.shop:asgi"]
    with serving(tmp_path, command, port) as server:
        load = Load(port, threads=6, each=50)
        load.join()
        assert load.answered == 300
        assert {server.count() for _ in range(10)} == {300}


def test_a_client_that_leaves_under_asgi_leaves_nothing_behind(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "tests.live.shop:asgi"]
    with serving(tmp_path, command, port) as server:
        for _ in range(5):
            with urlopen(f"http://127.0.0.1:{port}/stream/", timeout=30) as response:
                response.read(10)
        stream = wait_for(lambda: server.metrics()["metrics"].get("GET/stream/"), what="the streams' count")
        assert stream["count"] == 5
        wait_for(lambda: server.metrics()["metrics"]["GET/stream/"].get("stream_count") == 5, what="the streams' ends")
        assert server.metrics()["active_requests"] <= 1


def test_the_development_server_with_reload(tmp_path):
    module, script = tmp_path / "touched.py", tmp_path / "manage.py"
    module.write_text("")
    script.write_text(
        "import sys\n"
        f"sys.path[:0] = [{str(tmp_path)!r}, {str(PROJECT)!r}]\n"
        "import touched, tests.live.shop\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(sys.argv)\n"
    )
    port = free_port()
    with serving(tmp_path, [sys.executable, str(script), "runserver", f"127.0.0.1:{port}"], port) as server:

        def files():
            server.metrics()
            return {file.name for file in (tmp_path / "state").glob("worker-*")}

        Load(port, threads=2, each=20).join()
        assert server.count() == 40
        before = files()
        os.utime(module, (time.time() + 5, time.time() + 5))
        wait_for(lambda: not before & files(), what="the reload")
        assert server.count() == 40
        Load(port, threads=2, each=20).join()
        assert server.count() == 80


def test_a_restart_of_the_whole_server_loses_nothing(tmp_path):
    command, port = gunicorn("--workers=3")
    started = []
    for number in (1, 2, 3):
        with serving(tmp_path, command, port) as server:
            load = Load(port, threads=4, each=25)
            load.join()
            assert server.count() == number * 100
            started.append(server.metrics()["started_at"])
    assert len(set(started)) == 1


def test_active_requests_are_right_after_a_workers_death(tmp_path):
    command, port = gunicorn("--workers=2", "--worker-class=gthread", "--threads=8")
    with serving(tmp_path, command, port) as server:
        load = Load(port, threads=4, each=1, path="/slow/?seconds=60")
        wait_for(lambda: server.metrics()["active_requests"] == 4 + 1, what="four slow requests, and the one that asks")
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        load.join()
        wait_for(lambda: server.metrics()["active_requests"] == 1, what="only the one that asks")


def test_recycled_workers_leave_a_bounded_number_of_files_though_nobody_reads(tmp_path):
    command, port = gunicorn("--workers=4", "--max-requests=1")
    with serving(tmp_path, command, port) as server:
        load = Load(port, threads=4, each=15)
        most = 0
        while load.is_running():
            most = max(most, len(list((tmp_path / "state").glob("worker-*"))))
            time.sleep(0.02)
        load.join()
        assert most < 12
        assert server.count() >= load.answered


def test_workers_killed_at_random_under_load(tmp_path):
    """For 20 seconds, with one restart: never below the responses received, above by no more than was in flight at the kills."""
    chance = random.Random(1)
    command, port = gunicorn("--workers=4")
    server = Server(command, tmp_path / "state", tmp_path / "log", port)
    load = Load(port, threads=8)
    kills, ends = 0, time.monotonic() + 20
    restart_at = ends - 10
    try:
        while time.monotonic() < ends:
            time.sleep(chance.uniform(0.2, 0.6))  # not a wait for something: the pace of the kills
            if restart_at is not None and time.monotonic() > restart_at:
                restart_at = None
                server.end(signal.SIGKILL if chance.random() < 0.5 else signal.SIGTERM)
                kills += 4
                wait_for(lambda: not _listens(port), what="the port")
                server = Server(command, tmp_path / "state", tmp_path / "log", port)
            elif pids := server.workers():
                os.kill(chance.choice(pids), signal.SIGKILL)
                kills += 1
        load.stop()
        counted = wait_for(lambda: server.count() >= load.answered and server.count(), what="the final count")
        assert load.answered > 500
        assert kills > 20
        # A worker of this class works on one request at a time: a kill leaves at most one counted and not received.
        assert load.answered <= counted <= load.answered + min(kills, load.failed)
    finally:
        load.stop()
        server.end()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
