"""Real servers for the tests: started on free ports of 127.0.0.1, each in a folder of its own, ended by pid.

A test that needs one is marked `@requires("influxd")` and takes the fixture of that name (tests/live/conftest.py).
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

import pytest

T = TypeVar("T")

PACKAGES = {
    "victoria-metrics": "victoria-metrics",
    "promtool": "prometheus",
    "influxd": "influxdb",
    "chromium": "chromium",
    "crontab": "cron",
    "cron": "cron",
    "faketime": "faketime",
    "docker-compose": "docker-compose",
}
"""Debian's package of each program that tests ask for."""


def requires(program: str) -> pytest.MarkDecorator:
    """Skips the test where a program is not installed."""
    return pytest.mark.skipif(
        shutil.which(program) is None, reason=f"needs {program} (Debian: apt install {PACKAGES.get(program, program)})"
    )


def wait_for(condition: Callable[[], T], seconds: float = 30.0, what: str = "the condition") -> T:
    """Ask until the answer is true, and return it; fails after `seconds`. Errors of connections count as not yet."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = answer = condition()
            if answer:
                return answer
        except OSError as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true in {seconds} seconds; last seen: {last!r}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The process while it is needed; its output goes to a file. The options are Popen's."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def started(process: subprocess.Popen[bytes], log: Path, url: str) -> None:
    """Wait until the URL answers; fails with the process's log if it ended instead."""

    def answers() -> bool:
        if process.poll() is not None:
            pytest.fail(f"the server ended with code {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
        with urlopen(url, timeout=5) as response:
            return 200 <= response.status < 300

    wait_for(answers, what=f"{url} to answer")


class VictoriaMetrics:
    """A running VictoriaMetrics: `url` takes InfluxDB's /api/v2/write."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.process = process

    def series(self, selector: str) -> list[dict[str, Any]]:
        """Raw samples: `{"metric": labels, "values": [...], "timestamps": [milliseconds]}` for each series."""
        urlopen(f"{self.url}/internal/force_flush", timeout=10).close()
        query = urlencode({"match[]": selector, "nocache": "1", "reduce_mem_usage": "1"})
        with urlopen(f"{self.url}/api/v1/export?{query}", timeout=10) as response:
            return [json.loads(line) for line in response if line.strip()]


class Influxd:
    """A running influxd 1.x behind a shim that maps /api/v2/write, which came with 1.8, to its own /write."""

    def __init__(self, own_url: str, url: str, folder: Path) -> None:
        self.own_url = own_url
        self.url = url
        self.folder = folder
        self.process: subprocess.Popen[bytes]

    def create_database(self, name: str) -> None:
        self._query(f'CREATE DATABASE "{name}"', method="POST")

    def select(self, database: str, query: str) -> list[dict[str, Any]]:
        """The rows of an InfluxQL query as dicts, `time` in microseconds."""
        rows = []
        for series in self._query(query, db=database, epoch="u")["results"][0].get("series", []):
            rows += [dict(zip(series["columns"], values, strict=True)) for values in series["values"]]
        return rows

    def _query(self, query: str, method: str = "GET", **parameters: str) -> Any:
        request = Request(f"{self.own_url}/query?{urlencode({'q': query, **parameters})}", method=method)
        try:
            with urlopen(request, timeout=10) as response:
                return json.load(response)
        except HTTPError as error:
            pytest.fail(f"influxd refused {query!r}: {error.read().decode()}")


class _Shim(BaseHTTPRequestHandler):
    wbufsize = -1
    server: _ShimServer

    def do_POST(self) -> None:
        parameters = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        precision = {"ns": "n", "us": "u"}.get(parameters["precision"], parameters["precision"])
        query = urlencode({"db": parameters["bucket"], "precision": precision})
        body = self.rfile.read(int(self.headers["Content-Length"]))
        encoding = {"Content-Encoding": self.headers["Content-Encoding"]} if "Content-Encoding" in self.headers else {}
        request = Request(f"{self.server.target}/write?{query}", body, encoding, method="POST")
        try:
            with urlopen(request, timeout=10) as response:
                status, answer = response.status, response.read()
        except HTTPError as error:
            status, answer = error.code, error.read()
        except OSError:  # influxd is gone, and so is the connection to it
            self.close_connection = True
            return
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if status != 204:
            self.wfile.write(answer)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the base class's name)
        pass


class _ShimServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Shim)
        self.target = target


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[str]:
    """The URL of a server that runs in a thread while it is needed."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def victoria_metrics_server(folder: Path, port: int = 0) -> Iterator[VictoriaMetrics]:
    address = f"127.0.0.1:{port or free_port()}"
    log = folder / "victoria-metrics.log"
    command = ["victoria-metrics", f"-httpListenAddr={address}", f"-storageDataPath={folder / 'data'}"]
    with running([*command, "-retentionPeriod=100y", "-search.latencyOffset=0s"], log) as process:
        started(process, log, f"http://{address}/health")
        yield VictoriaMetrics(f"http://{address}", process)


_INFLUXD_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[monitor]
  store-enabled = false
[http]
  bind-address = "{address}"
  log-enabled = false
"""


@contextmanager
def influxd_server(folder: Path) -> Iterator[Influxd]:
    address = f"127.0.0.1:{free_port()}"
    (folder / "influxd.conf").write_text(_INFLUXD_CONFIG.format(folder=folder, address=address))
    with serving(_ShimServer(f"http://{address}")) as url:
        server = Influxd(f"http://{address}", url, folder)
        with started_influxd(server):
            yield server


@contextmanager
def started_influxd(server: Influxd) -> Iterator[None]:
    """Its process; where that was killed, another one on the same port and folder."""
    log = server.folder / "influxd.log"
    with running(["influxd", "-config", str(server.folder / "influxd.conf")], log) as server.process:
        started(server.process, log, f"{server.own_url}/ping")
        yield
