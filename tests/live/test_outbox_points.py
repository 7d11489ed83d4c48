"""The whole way: from what a service serves, over the outbox, into two real servers, and every field of every line read back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from monitoring import histogram, wire
from tests.live.judges import forwarded, stamps
from tests.live.monitors import Monitor, influxdb, sqlite
from tests.live.servers import Influxd, VictoriaMetrics, influxd_server, requires, wait_for
from tests.receiver import Receiver
from tests.scripted import answers

SERVED = ["/", "/items/<int:pk>/", "/two words", "/a,b=c", '/"quoted"', "/back\\slash", "/é 漢字 😀", "/" + "x" * 10_000]
ROUTES = [wire.bounded_route(one) for one in SERVED]
"""As they are kept: what is longer than routes are is cut, and told apart by a digest."""


class Serving:
    """A service that serves another document at each poll: route number n grows by (n + 1) times the number of the poll."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, connection: Any, over: threading.Event) -> None:
        self.asked += 1
        metrics = {
            f"GET{route}": {
                "count": self.total(number),
                "avg_duration": 0.25,
                "duration_sum": self.total(number) / 4,
                "duration_max": float(self.asked),
                "status_codes": {"200": self.total(number) - self.asked, "500": self.asked},
                "buckets": {"-9": self.total(number)},
                "method": "GET",
                "route": route,
            }
            for number, route in enumerate(SERVED)
        }
        document = {"service_name": "shop-0", "metrics": metrics, "started_at": 1.0, "histogram_scale": 2}
        answers(document)(connection, over)

    def total(self, number: int) -> int:
        return (number + 1) * self.asked * (self.asked + 1) // 2


def written(number: int, poll: int) -> dict[str, float]:
    """The fields of a route at a poll, both counted from 0."""
    step, count = (number + 1) * (poll + 1), (number + 1) * (poll + 1) * (poll + 2) // 2
    fields: dict[str, float] = {"count": count, "duration": count / 4, "200": count - poll - 1, "500": poll + 1}
    if poll:
        fields |= {"interval_count": step, "interval_duration": step / 4, "interval_errors": 1}
        fields |= {"interval_200": step - 1, "interval_500": 1, "max": poll + 1.0}
        fields |= dict.fromkeys(("p50", "p95", "p99"), histogram.midpoint(-9))
    return fields


@pytest.fixture
def stamped(tmp_path: Path, receiver: Receiver, request: pytest.FixtureRequest) -> Any:
    """Three rounds to a server; the address that was polled, and the milliseconds of the polls."""
    service = Serving()

    def collect(url: str, bucket: str) -> tuple[str, list[int]]:
        monitor = Monitor(tmp_path, sqlite(tmp_path), [service], INFLUXDB=influxdb(receiver.url, bucket, TIMEOUT=20))
        receiver.judge = forwarded(url, bucket)
        request.addfinalizer(monitor.close)
        for _ in range(3):
            collected = monitor.round()
            assert (collected.code, collected.errors) == (0, "")
            assert f"{len(ROUTES) + 1} points delivered." in collected.said
        moments = monitor.ask("list(Availability.objects.filter(resolution=0).order_by('end').values_list('end', flat=True))")
        # What was sent is looked at first, so that a failure tells whether it was lost here or there.
        assert stamps(receiver.lines) == [moment for moment in moments for _ in range(len(ROUTES) + 1)]
        return f"127.0.0.1:{monitor.servers[0].port}", moments

    return collect


@pytest.fixture
def new_influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """One of its own: version 1.6, after minutes of other tests, at times acknowledged a round and did not have it
    (what was sent was right, its answer 204, and its log of writes lacked it)."""
    with influxd_server(tmp_path_factory.mktemp("influxd-new")) as server:
        yield server


@requires("influxd")
def test_what_is_served_is_what_influxd_gives_back(stamped: Any, new_influxd: Influxd) -> None:
    influxd = new_influxd
    database = f"fleet{uuid4().hex}"
    influxd.create_database(database)
    instance, moments = stamped(influxd.url, database)
    expected = {}
    for poll, moment in enumerate(moments):
        for number, route in enumerate(ROUTES):
            tags = {"instance": instance, "method": "GET", "path": "GET" + route, "route": route, "time": moment * 1000}
            none = dict.fromkeys(written(0, 1)) if not poll else {}
            expected[route, moment] = {**none, **written(number, poll), **tags}

    def read() -> dict[tuple[str, int], dict[str, Any]]:
        return {(row["route"], row["time"] // 1000): row for row in influxd.select(database, 'SELECT * FROM "shop-0"')}

    # No row, field or tag more or less.
    assert wait_for(lambda: found if len(found := read()) >= len(expected) else None, what="all rows in influxd") == expected
    rows = influxd.select(database, "SELECT * FROM monitoring_poll")
    assert [row.pop("time") for row in rows] == [1000 * moment for moment in moments]
    for row in rows:
        assert 0 < row.pop("poll_duration") < 30
        assert row == {"up": 1, "polls": 1, "failures": 0, "error": "", "instance": instance, "service": "shop-0"}
    assert len(influxd.select(database, "SHOW MEASUREMENTS")) == 2


@requires("victoria-metrics")
def test_what_is_served_is_what_victoria_metrics_gives_back(stamped: Any, victoria_metrics: VictoriaMetrics) -> None:
    instance, moments = stamped(victoria_metrics.url, "fleet")
    expected = {}
    for poll, moment in enumerate(moments):
        for number, route in enumerate(ROUTES):
            for field, value in written(number, poll).items():
                expected[f"shop-0_{field}", route, moment] = pytest.approx(value, rel=1e-12)
        expected["monitoring_poll_up", None, moment] = expected["monitoring_poll_polls", None, moment] = 1
        expected["monitoring_poll_failures", None, moment] = 0
        expected["monitoring_poll_error", None, moment] = 0  # it has no strings
        expected["monitoring_poll_poll_duration", None, moment] = pytest.approx(15, abs=15)

    def read() -> dict[tuple[str, str | None, int], float]:
        return {
            (series["metric"]["__name__"], series["metric"].get("route"), moment): value
            for series in victoria_metrics.series(f'{{instance="{instance}"}}')
            for moment, value in zip(series["timestamps"], series["values"], strict=True)
        }

    assert wait_for(lambda: found if len(found := read()) >= len(expected) else None) == expected


@requires("influxd")
def test_one_bad_line_among_5000(tmp_path: Path, influxd: Influxd, receiver: Receiver) -> None:
    database = f"fleet{uuid4().hex}"
    influxd.create_database(database)
    receiver.judge = forwarded(influxd.url, database)
    assert receiver.judge(["changed count=1.5 1795000000000"])[0] == 204  # no whole number goes there any more
    monitor = Monitor(tmp_path, sqlite(tmp_path), INFLUXDB=influxdb(receiver.url))
    monitor.fill(rows=1, points=2500)
    monitor.fill(rows=1, points=1, measurement="changed")
    monitor.fill(rows=1, points=2499, first=1_795_000_100_000)
    found = monitor.round()
    monitor.close()
    assert found.code == 1
    assert "1 point was refused and set aside" in found.errors
    assert max(receiver.sizes) == receiver.sizes[0] == 5000
    assert len(receiver.requests) <= 2 * 13 + 1 + 1  # halved thirteen times, and the round's own points
    (row,) = influxd.select(database, "SELECT COUNT(count) FROM backlog")
    assert row["count"] == 4999
    (row,) = influxd.select(database, "SELECT COUNT(up) FROM monitoring_poll")
    assert row["count"] == 6
    ((words, lines),) = monitor.ask("[[one.words, unpack_lines(bytes(one.lines))] for one in RejectedPoints.objects.all()]")
    assert "field type conflict" in words
    assert lines == ["changed,row=0 count=0i 1795000000000"]
    assert monitor.ask("waiting().points") == 0
