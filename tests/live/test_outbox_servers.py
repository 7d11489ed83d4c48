"""What may happen to InfluxDB: it is down, killed, slow, locked, replaced by a proxy. No point is lost, nor written twice."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.live import servers
from tests.live.judges import forwarded, stamps
from tests.live.monitors import Monitor, ended, influxdb, sqlite
from tests.live.servers import Influxd, VictoriaMetrics, free_port, requires, wait_for
from tests.receiver import NO_CONTENT, Answer, Receiver, running_receiver
from tests.scripted import ScriptedServer, hangs

NOWHERE = influxdb("http://127.0.0.1:9")


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    made = Monitor(tmp_path, sqlite(tmp_path), INFLUXDB=NOWHERE)
    yield made
    made.close()


@requires("victoria-metrics")
def test_down_for_thirty_rounds_then_back(monitor: Monitor, victoria_metrics: VictoriaMetrics) -> None:
    port = free_port()
    monitor.configure(INFLUXDB=influxdb(f"http://127.0.0.1:{port}"))
    process = monitor.collect("--loop", "--every", "0.01")
    wait_for(lambda: min(monitor.asked) > 30, what="thirty rounds")
    down = ended(process, signal.SIGTERM)
    assert "cannot be reached" in down.errors
    rounds = monitor.asked
    with running_receiver(port) as receiver:
        receiver.judge = forwarded(victoria_metrics.url, "fleet")
        back = monitor.round()
    assert (back.code, back.errors) == (0, "")
    assert len(receiver.lines) == sum(4 * (number + 1) for number in rounds)
    of_rounds = stamps(receiver.lines)
    for server in monitor.servers:
        own = stamps([line for line in receiver.lines if f"127.0.0.1:{server.port}" in line])
        assert own == sorted(own)
    assert len(set(receiver.lines)) == len(receiver.lines)
    assert max(of_rounds[: len(of_rounds) // 2]) <= min(of_rounds[-24:])
    for shop, (server, number) in enumerate(zip(monitor.servers, rounds, strict=True)):
        selector = f'{{__name__="shop-{shop}_count",path="GET/300",instance="127.0.0.1:{server.port}"}}'
        assert kept(victoria_metrics, selector, number + 1) == [300 * (one + 1) for one in range(number + 1)]


def kept(server: VictoriaMetrics, selector: str, number: int) -> list[float]:
    """The values of a series, as soon as there are so many. What VictoriaMetrics got twice it gives back twice."""

    def values() -> list[float]:
        return sorted(value for one in server.series(selector) for value in one["values"])

    return wait_for(lambda: found if len(found := values()) >= number else None, what=f"{number} values of {selector}")


@requires("influxd")
def test_killed_in_the_middle_of_a_batch(monitor: Monitor, tmp_path: Path) -> None:
    with servers.influxd_server(tmp_path) as influxd:
        influxd.create_database("fleet")
        monitor.configure(INFLUXDB=influxdb(influxd.url))
        monitor.fill(rows=400, points=1000)
        process = monitor.collect()
        wait_for(lambda: influxd.select("fleet", "SELECT LAST(count) FROM backlog"), what="the first batch")
        influxd.process.kill()
        killed = ended(process)
        assert killed.code == 1
        assert "InfluxDB" in killed.errors
        left = monitor.ask("waiting().points")
        assert 0 < left <= 400_000 + 24
        with servers.started_influxd(influxd):
            while left:
                again = monitor.round()
                assert (again.code, again.errors) == (0, "")
                before, left = left, monitor.ask("waiting().points")
                assert left < before
            (row,) = influxd.select("fleet", "SELECT COUNT(count), SUM(count) FROM backlog")
            assert (row["count"], row["sum"]) == (400_000, sum(range(400_000)))
            (polls,) = influxd.select("fleet", "SELECT COUNT(up) FROM monitoring_poll")
            assert polls["count"] == sum(monitor.asked)


@requires("influxd")
def test_answering_after_it_was_given_up(monitor: Monitor, influxd: Influxd, receiver: Receiver) -> None:
    database = f"fleet{uuid4().hex}"
    influxd.create_database(database)
    forward, given_up = forwarded(influxd.url, database), threading.Event()

    def judge(lines: list[str]) -> Answer:
        answer = forward(lines)
        given_up.wait(30)
        return answer

    receiver.judge = judge
    monitor.configure(INFLUXDB=influxdb(receiver.url, TIMEOUT=0.5))
    late = monitor.round()
    given_up.set()
    assert (late.code, len(receiver.requests)) == (1, 1)
    assert "did not answer within 0.5 seconds" in late.errors
    assert "24 points wait" in late.errors
    monitor.configure(INFLUXDB=influxdb(receiver.url, TIMEOUT=30))
    assert monitor.round()[::2] == (0, "")
    assert receiver.lines[:24] == receiver.lines[24:48]
    (row,) = influxd.select(database, "SELECT COUNT(up), SUM(up) FROM monitoring_poll")
    assert (row["count"], row["sum"]) == (12, 12)
    rows = influxd.select(database, 'SELECT SUM(interval_count) FROM "shop-0"')
    assert rows[0]["sum"] == 303


def deaf() -> contextlib.AbstractContextManager[str]:
    """A port that takes no connection, as the queue of those that nobody accepts is full."""

    @contextlib.contextmanager
    def listening() -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as stack:
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(server.getsockname())
            yield f"http://127.0.0.1:{server.getsockname()[1]}"

    return listening()


@contextlib.contextmanager
def mute() -> Iterator[str]:
    """A port that accepts and reads, and never answers."""
    server = ScriptedServer(hangs)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


@pytest.mark.parametrize("hanging", [deaf, mute])
def test_hanging_costs_a_round_one_timeout(monitor: Monitor, receiver: Receiver, hanging: Callable[[], Any]) -> None:
    """With its 300 batches it would hang for 750 seconds if each waited, and for 5 if one were only repeated once."""
    monitor.fill(rows=300, points=5000)
    with hanging() as url:
        monitor.configure(INFLUXDB=influxdb(url))
        begun = time.monotonic()
        down = monitor.round()
        took = time.monotonic() - begun
    assert down.code == 1
    assert "did not answer within 2.5 seconds" in down.errors
    assert down.said.count("ok") == 6  # the services, whose history is stored
    assert took < 60  # whatever else the machine does
    assert monitor.ask("waiting().points") == 1_500_024


def test_points_wait_while_the_setting_is_gone_or_wrong_and_go_where_it_then_leads(monitor: Monitor, receiver: Receiver) -> None:
    assert monitor.round().code == 1  # nobody is there
    monitor.configure(INFLUXDB=None)
    assert monitor.round()[::2] == (0, "")
    assert monitor.ask("waiting().points") == 24  # what is polled without the setting is for the history alone
    monitor.configure(INFLUXDB={"URL": receiver.url, "BUKET": "fleet"})
    wrong = monitor.round()
    assert (wrong.code, receiver.requests) == (1, [])
    assert "unknown key 'BUKET'" in wrong.errors
    monitor.configure(INFLUXDB=influxdb(receiver.url, "another"))
    assert monitor.round()[::2] == (0, "")
    assert receiver.sizes == [3 * 24]
    assert "bucket=another" in receiver.requests[0].path


HTML = b"<!DOCTYPE html><html><body>nginx</body></html>"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((500, {}, b'{"code":"internal error","message":"engine is closed"}'), "answered 500: engine is closed."),
        ((503, {"Retry-After": "0"}, b""), "overloaded or starting"),
        ((502, {}, HTML), "a proxy stands before InfluxDB"),
        ((200, {"Content-Type": "text/html"}, HTML), "check INFLUXDB['URL']"),
        ((403, {}, HTML), "Check INFLUXDB['URL']"),
        ((401, {}, b'{"code":"unauthorized","message":"unauthorized access"}'), "check INFLUXDB['TOKEN']"),
        ((404, {}, b'{"code":"not found","message":"bucket \\"fleet\\" not found"}'), "INFLUXDB['BUCKET']"),
    ],
    ids=["500", "503", "proxy 502", "web page", "proxy 403", "token revoked", "bucket deleted"],
)
def test_refusing_for_a_while(monitor: Monitor, receiver: Receiver, answer: Answer, says: str) -> None:
    receiver.answers = [answer]
    monitor.configure(INFLUXDB=influxdb(receiver.url))
    for number in range(1, 4):
        refused = monitor.round()
        assert refused.code == 1
        assert says in refused.errors
        assert f"{24 * number} points wait since" in refused.errors
        assert "s3cret" not in refused.errors + refused.said
    assert len(receiver.requests) == 3  # one for each round
    receiver.answers = [NO_CONTENT]
    receiver.requests.clear()
    assert monitor.round()[::2] == (0, "")
    assert len(receiver.lines) == 4 * 24
    assert len(set(receiver.lines)) == 4 * 24
    assert stamps(receiver.lines[::24]) == sorted(stamps(receiver.lines[::24]))
    assert monitor.ask("[waiting().points, RejectedPoints.objects.count(), OutboxState.objects.get().error]") == [0, 0, ""]
