"""`manage.py demo` as a user runs it, from a folder and with an environment that have nothing to do with it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import requests

from demo_project.services.behaviour import SERVICES
from tests.live.servers import free_port, wait_for

PROJECT = Path(__file__).resolve().parent.parent.parent
LINE = re.compile(r"Service: (\S+), TraceID: (\S+), SpanID: (\S+), ParentSpanID: (\S*), Method: GET, Path: /process, ")

linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc (Linux)")


class Demo:
    """A demo that runs; what it prints goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, output: Path) -> None:
        self.process = process
        self.folder = folder
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_until_up(self) -> None:
        def up() -> bool:
            if self.process.poll() is not None:
                pytest.fail(f"the demo ended with code {self.process.returncode}: {self.output}")
            return "Ctrl-C ends everything" in self.output

        wait_for(up, 60, "the demo to start")

    def address(self, path: str) -> str:
        """Of the monitor's page that it prints."""
        found = re.search(rf"http://127\.0\.0\.1:\d+/{path}/", self.output)
        assert found, self.output
        return found[0]

    def service(self, name: str) -> str:
        found = re.search(rf"^{name}  (http://127\.0\.0\.1:\d+)/process", self.output, re.MULTILINE)
        assert found, self.output
        return found[1]

    def credentials(self) -> tuple[str, str]:
        found = re.search(r"^Login: (\S+) / (\S+)$", self.output, re.MULTILINE)
        assert found, self.output
        return found[1], found[2]

    def ports(self) -> list[int]:
        return [int(port) for port in {*re.findall(r"http://127\.0\.0\.1:(\d+)/", self.output)}]

    def children(self) -> dict[int, str]:
        """Command lines by pid."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid:
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue  # it ended meanwhile
        return found

    def log_in(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        page = session.get(self.address("monitoring"), timeout=10)
        name, password = self.credentials()
        form = {
            "username": name,
            "password": password,
            "csrfmiddlewaretoken": session.cookies["csrftoken"],
            "next": "/monitoring/",
        }
        answer = session.post(page.url, form, headers={"Referer": page.url}, timeout=10)
        assert answer.url == self.address("monitoring"), "the credentials do not open the page"
        return session


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[Demo]:
    folder.mkdir(exist_ok=True)
    output = folder / "printed"
    environment = {
        **os.environ,
        "DEMO_DIR": str(folder / "demo"),
        "DJANGO_SETTINGS_MODULE": "somebody_elses.settings",
        "http_proxy": "http://127.0.0.1:9",
    }
    command = [sys.executable, str(PROJECT / "manage.py"), "demo", *options]
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield Demo(process, folder / "demo", output)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo(tmp_path_factory.mktemp("a demo"), "--base-port", str(free_base())) as started:
        started.wait_until_up()
        yield started


def free_base() -> int:
    """A base whose five ports are free, as far as one can know."""

    def free(port: int) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) != 0

    return wait_for(lambda: next((b for b in [free_port() - 100] if all(map(free, [b, *range(b + 81, b + 85)]))), 0))


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


class Rows(HTMLParser):
    """The texts of each table row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        if self.rows and data.strip():
            self.rows[-1].append(data.strip())


def test_a_trace_leads_through_all_four_logs(running: Demo) -> None:
    answer = requests.get(running.service("test-server1") + "/process", timeout=10)
    trace_id = answer.headers["X-Trace-ID"]
    assert answer.json()["service"] == "test-server1"

    def lines() -> dict[str, tuple[str, str]]:
        found = {}
        for log in (running.folder / "logs").glob("*.log"):
            for match in LINE.finditer(log.read_text()):
                if match[2] == trace_id:
                    assert log.name == f"{match[1]}.log"
                    found[match[1]] = match[3], match[4]
        return found if len(found) == len(SERVICES) else {}

    spans = wait_for(lines, what="a line in each log")
    assert spans["test-server1"] == (answer.headers["X-Span-ID"], "")
    assert spans["test-server2"][1] == spans["test-server1"][0]
    assert spans["test-server3"][1] == spans["test-server1"][0]
    assert spans["test-server4"][1] == spans["test-server2"][0]


def test_the_monitor_shows_a_trace_as_it_went_through_the_services(running: Demo) -> None:
    trace_id = requests.get(running.service("test-server1") + "/process", timeout=10).headers["X-Trace-ID"]
    session = running.log_in()

    def requests_shown() -> list[list[str]]:
        page = session.get(running.address("monitoring") + "traces/", params={"trace_id": trace_id}, timeout=10)
        rows = [row for row in Rows(page.text).rows if "/process" in row]
        return rows if len(rows) == len(SERVICES) else []

    rows = wait_for(requests_shown, what="a row for each service")
    found = {row[0]: next(text for text in row if text.startswith("Level")) for row in rows}
    assert found == {"test-server1": "Level 0", "test-server2": "Level 1", "test-server3": "Level 1", "test-server4": "Level 2"}
    assert "/process" in session.get(running.address("monitoring") + "traces/", timeout=10).text


def test_a_trace_is_one_tree_of_spans_with_all_its_calls(running: Demo) -> None:
    trace_id = requests.get(running.service("test-server1") + "/process", timeout=10).headers["X-Trace-ID"]

    def spans() -> dict[str, Any]:
        found = {}
        for name in SERVICES:
            for line in (running.folder / "logs" / f"{name}.spans.jsonl").read_text().splitlines():
                for span in json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]:
                    if span["traceId"] == trace_id:
                        found[span["spanId"]] = {"service": name, **span}
        return found if len(found) == 7 else {}

    found = wait_for(spans, what="four requests and three calls")

    def path(span: dict[str, Any]) -> str:
        """The services from the root to the span, with "→" for each call."""
        step = f"{span['service']}{' →' if span['kind'] == 3 else ''}"
        return f"{path(found[span['parentSpanId']])} {step}" if "parentSpanId" in span else step

    assert sorted(map(path, found.values())) == [
        "test-server1",
        "test-server1 test-server1 →",
        "test-server1 test-server1 →",
        "test-server1 test-server1 → test-server2",
        "test-server1 test-server1 → test-server2 test-server2 →",
        "test-server1 test-server1 → test-server2 test-server2 → test-server4",
        "test-server1 test-server1 → test-server3",
    ]


def test_every_service_answers_ping_and_serves_its_metrics(running: Demo) -> None:
    for name in SERVICES:
        address = running.service(name)
        assert requests.get(f"{address}/ping", timeout=10).json() == {"service": name, "message": "pong"}
        document = requests.get(f"{address}/metrics", timeout=10).json()
        assert document["service_name"] == name
        assert document["metrics"]["GET/ping"]["count"] >= 1


def test_the_page_shows_all_four_with_numbers(running: Demo) -> None:
    session = running.log_in()

    def shown() -> bool:
        page = session.get(running.address("monitoring"), timeout=10)
        assert page.status_code == 200
        rows = {name: row for name in SERVICES for row in Rows(page.text).rows if name in row}
        return len(rows) == len(SERVICES) and all(_has_numbers(row) for row in rows.values())

    wait_for(shown, 20, "four services with numbers")


def _has_numbers(row: list[str]) -> bool:
    """A rate above zero, an error rate and a duration."""
    text = " ".join(row)
    rate = re.search(r"([\d.]+)\s?req/s", text)
    return bool(rate and float(rate[1]) > 0 and re.search(r"\d\s?%", text) and re.search(r"\d\s?(µs|ms|s)\b", text))


def test_the_start_page_leads_to_the_monitor_and_its_style_is_served(running: Demo) -> None:
    session = running.log_in()
    base = running.address("monitoring").removesuffix("monitoring/")
    page = session.get(base, timeout=10)
    assert page.url == running.address("monitoring")
    found = re.search(r'href="(/[^"]+\.css)"', page.text)
    assert found
    assert session.get(base + found[1].lstrip("/"), timeout=10).status_code == 200
    assert session.get(f"{base}metrics", timeout=10).json()["service_name"] == "monitor"


@linux
def test_everything_listens_on_this_machine_alone(running: Demo) -> None:
    ours = {f"{port:04X}" for port in running.ports()}
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {local.partition(":")[0] for _, local, _, state, *_ in listening if state == "0A" and local[-4:] in ours}
    assert addresses == {"0100007F"}


def test_a_second_demo_in_the_same_folder_is_refused(running: Demo, tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "manage.py"), "demo"]
    second = subprocess.run(
        command, env={**os.environ, "DEMO_DIR": str(running.folder)}, capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 1
    assert "A demo is running already" in second.stderr
    assert running.process.poll() is None


@linux
def test_a_service_that_ends_is_reported_and_the_demo_goes_on(running: Demo) -> None:
    pid = next(
        pid for pid, command in running.children().items() if command.endswith(f"{_port(running, 'test-server3')} --noreload ")
    )
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: "test-server3 ended by signal 9 (SIGKILL)" in running.output)
    answer = requests.get(running.service("test-server1") + "/process", timeout=10)
    assert answer.status_code == 502
    assert answer.json()["calls"][1] == {"url": running.service("test-server3") + "/process", "error": "ConnectionError"}
    session = running.log_in()

    def down() -> bool:
        rows = Rows(session.get(running.address("monitoring"), timeout=10).text).rows
        return any("test-server3" in row and "Down" in row for row in rows)

    wait_for(down, what="test-server3 to be shown as down")
    assert running.process.poll() is None


def _port(running: Demo, name: str) -> str:
    return running.service(name).rpartition("/")[2]


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_and_the_next_demo_takes_up_where_it_was(number: signal.Signals, tmp_path: Path) -> None:
    with demo(tmp_path, "--base-port", str(free_base())) as first:
        first.wait_until_up()
        children, ports, credentials = first.children(), first.ports(), first.credentials()
        assert len(children) == len(SERVICES) + 2
        assert len(ports) == len(SERVICES) + 1
        first.process.send_signal(number)
        assert first.process.wait(20) == 0
        assert all(map(is_gone, children))
        assert all(map(refuses, ports))
        assert "Traceback" not in first.output
    with demo(tmp_path, "--base-port", str(free_base())) as second:
        second.wait_until_up()
        assert second.credentials() == credentials
        second.log_in()


@linux
def test_killing_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    with demo(tmp_path, "--base-port", str(free_base())) as killed:
        killed.wait_until_up()
        children = killed.children()
        assert len(children) == len(SERVICES) + 2
        killed.process.kill()
        wait_for(lambda: all(map(is_gone, children)), what="its processes to end")


@linux
def test_a_signal_during_the_start_ends_what_is_there(tmp_path: Path) -> None:
    with demo(tmp_path, "--base-port", str(free_base())) as started:
        children = wait_for(started.children, what="the first process")
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(30) == 0
        assert all(map(is_gone, children))
        assert not started.children()


@linux
def test_without_its_monitor_the_demo_ends_and_says_so(tmp_path: Path) -> None:
    with demo(tmp_path, "--base-port", str(free_base())) as started:
        started.wait_until_up()
        children = started.children()
        os.kill(next(pid for pid, command in children.items() if "collect_metrics" in command), signal.SIGKILL)
        assert started.process.wait(20) == 1
        assert "The collector ended by signal 9" in started.output
        assert all(map(is_gone, children))


def test_a_taken_port_is_said_and_another_one_taken(tmp_path: Path) -> None:
    base = free_base()
    with socket.socket() as other:
        other.bind(("127.0.0.1", base + 81))
        other.listen()
        with demo(tmp_path, "--base-port", str(base), "--seconds", "1") as started:
            started.wait_until_up()
            assert f"Port {base + 81} is taken: test-server1 is on {base + 85}." in started.output
            assert started.service("test-server1").endswith(f":{base + 85}")
            assert started.process.wait(60) == 0


def test_a_broken_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "monitor.sqlite3").write_bytes(b"no database" * 1000)
    with demo(tmp_path, "--base-port", str(free_base())) as started:
        assert started.process.wait(60) == 1
        assert "file is not a database" in started.output
        assert "Delete the folder" in started.output
        assert "Traceback" not in started.output
