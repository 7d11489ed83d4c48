"""Every InfluxQL query of every dashboard, against a real influxd that holds points which the collector's own modules made.

Five polls, a minute apart. "shop" restarts between the second and the third, so that its counters fall; its first failures and
its first POST come after that; its last poll fails. "stock room", a Gin service, reports no histogram and no start.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from demo_project.services.behaviour import SERVICES
from monitoring import histogram
from monitoring.collector import intervals
from monitoring.collector.sinks.base import PolledInstance
from monitoring.conf import InfluxDB
from monitoring.wire import EndpointMetrics, MetricsDocument
from tests.grafana.dashboards import FOLDER, Query, escaped, filled, influxql
from tests.live.servers import Influxd, requires, running, wait_for
from tests.live.test_demo import free_base
from tests.sending import write_points

pytestmark = requires("influxd")

START = datetime(2026, 11, 22, 9, 30, tzinfo=timezone.utc)
ITEM, ORDERS = "GET/items/<int:pk>/", "POST/orders/"
REFUSED = "connection refused"
FAST, SLOW = -20, -16  # buckets
P_FAST, P_SLOW = (histogram.quantile({bucket: 1}, 0.5) for bucket in (FAST, SLOW))


def documents_of_shop() -> list[MetricsDocument | None]:
    def document(started: datetime, *endpoints: EndpointMetrics) -> MetricsDocument:
        return MetricsDocument("shop", {one.key: one for one in endpoints}, started_at=started.timestamp())

    def item(count: int, seconds: float, codes: dict[int, int], buckets: dict[int, int]) -> EndpointMetrics:
        return EndpointMetrics("GET", "/items/<int:pk>/", count, seconds, None, codes, buckets)

    long_ago, restart = START - timedelta(days=1), START + timedelta(seconds=90)
    return [
        document(long_ago, item(100, 1.0, {200: 100}, {FAST: 100})),
        document(long_ago, item(160, 1.6, {200: 160}, {FAST: 160})),
        document(restart, item(30, 0.6, {200: 24, 500: 6}, {SLOW: 30})),
        document(
            restart,
            item(90, 1.2, {200: 84, 500: 6}, {FAST: 60, SLOW: 30}),
            EndpointMetrics("POST", "/orders/", 12, 0.6, None, {201: 12}, {SLOW: 12}),
        ),
        None,
    ]


def documents_of_stock_room() -> list[MetricsDocument | None]:
    counts = range(10, 40, 6)
    return [MetricsDocument("stock room", {"GET/": EndpointMetrics("GET", "/", n, 0.3 * n, None, {200: n})}) for n in counts]


def polls(service: str, instance: str, documents: list[MetricsDocument | None]) -> Iterator[PolledInstance]:
    baseline = None
    for minute, document in enumerate(documents):
        polled_at = START + timedelta(minutes=minute, seconds=1)
        if document is None:
            yield PolledInstance(service, instance, polled_at, 0.5, REFUSED, None, None)
            continue
        interval = intervals.between(baseline, document, polled_at, START)
        baseline = intervals.Baseline(document, polled_at)
        yield PolledInstance(service, instance, polled_at, 0.25, "", document, interval)


@pytest.fixture(scope="module")
def database(influxd: Influxd) -> str:
    name = f"grafana-{uuid4()}"
    influxd.create_database(name)
    target = InfluxDB(influxd.url, "", "", name)
    write_points(target, polls("shop", "shop-1:8000", documents_of_shop()))
    write_points(target, polls("stock room", "stock:9000", documents_of_stock_room()))
    return name


def result(influxd: Influxd, database: str, text: str) -> dict[str, list[Any]]:
    """By measurement, tags and column: its values in the order of time. Where columns are texts, they come as they are."""
    answer = influxd._query(text, db=database, epoch="s")["results"][0]
    assert "error" not in answer, f"{text}: {answer['error']}"
    found: dict[str, list[Any]] = {}
    for series in answer.get("series", []):
        name = " ".join([series["name"], *series.get("tags", {}).values()])
        for number, column in enumerate(series["columns"]):
            if column != "time":
                found[f"{name}: {column}"] = [rounded(values[number]) for values in series["values"]]
    return found


def rounded(value: Any) -> Any:
    return round(value, 9) if isinstance(value, float) else value


def one(**columns: Any) -> dict[str, list[Any]]:
    return {name: [rounded(value)] for name, value in columns.items()}


SHOP, STOCK, POLL = "shop: ", "stock room: ", "monitoring_poll: "
MEANS = [None, 0.01, 0.02, rounded(1.2 / 72), None]
P95 = [None, rounded(P_FAST), rounded(P_SLOW), rounded(P_SLOW), None]
P50 = P95  # of the slowest endpoint
UP = [1, 1, 1, 1, 0]

EXPECTED: dict[tuple[str, str], dict[str, list[Any]]] = {
    ("fleet", "Services down (stat) A"): {POLL + "count": [1]},
    ("fleet", "Services (stat) A"): {POLL + "count": [2]},
    ("fleet", "Availability (stat) A"): {POLL + "sum_sum": [0.9]},
    ("fleet", "Last poll (stat) A"): {POLL + "up": [1]},
    ("fleet", "Requests per second (timeseries) A"): {
        SHOP + "sum": [None, 1, 0.5, 1.2, None],
        STOCK + "sum": [None, 0.1, 0.1, 0.1, 0.1],
    },
    ("fleet", "Errors (timeseries) A"): {SHOP + "sum_sum": [None, 0, 0.2, 0, None], STOCK + "sum_sum": [None, 0, 0, 0, 0]},
    ("fleet", "Mean duration (timeseries) A"): {SHOP + "sum_sum": MEANS, STOCK + "sum_sum": [None, 0.3, 0.3, 0.3, 0.3]},
    ("fleet", "p95 of the slowest endpoint (timeseries) A"): {SHOP + "max": P95},
    ("fleet", "Availability (state-timeline) A"): {"monitoring_poll shop: min": UP, "monitoring_poll stock room: min": [1] * 5},
    ("fleet", "Instances (table) A"): {
        f"monitoring_poll {instance}: {column}": [value]
        for instance, row in {
            "shop-1:8000 shop": {"state": 0, "availability": 0.8, "last poll took": 0.5, "last error": REFUSED},
            "stock:9000 stock room": {"state": 1, "availability": 1, "last poll took": 0.25, "last error": ""},
        }.items()
        for column, value in row.items()
    },
    ("service", "Requests (stat) A"): {SHOP + "sum": [162]},
    ("service", "Errors (stat) A"): one(**{SHOP + "sum_sum": 6 / 162}),
    ("service", "Mean duration (stat) A"): one(**{SHOP + "sum_sum": 2.4 / 162}),
    ("service", "Availability (stat) A"): {POLL + "sum_sum": [0.8]},
    ("service", "Requests per second by status (timeseries) A"): {
        SHOP + "derivative_interval_200": [0, 1, 0.4, 1, 0],
        SHOP + "derivative_interval_201": [0, 0, 0, 0.2, 0],
        SHOP + "derivative_interval_500": [0, 0, 0.1, 0, 0],
    },
    ("service", "Errors (timeseries) A"): {SHOP + "sum_sum": [None, 0, 0.2, 0, None]},
    ("service", "Percentiles (timeseries) A"): {SHOP + "p50": P50, SHOP + "p95": P95, SHOP + "p99": P95},
    ("service", "Mean and maximum duration (timeseries) A"): {
        SHOP + "mean": MEANS,
        SHOP + "max": [None, *(rounded(histogram.upper_bound(bucket)) for bucket in (FAST, SLOW, SLOW)), None],
    },
    ("service", "Endpoints (table) A"): {
        f"shop {path}: {column}": [rounded(value)]
        for path, row in {
            ITEM: {"requests": 150, "errors": 0.04, "mean": 1.8 / 150},
            ORDERS: {"requests": 12, "errors": 0, "mean": 0.05},
        }.items()
        for column, value in {**row, "p50": P_SLOW, "p95": P_SLOW, "p99": P_SLOW, "max": histogram.upper_bound(SLOW)}.items()
    },
    ("service", "Availability of its instances (state-timeline) A"): {"monitoring_poll shop-1:8000: min": UP},
    ("service", "$service"): {POLL + "key": ["service", "service"], POLL + "value": ["shop", "stock room"]},
    ("service", "$path"): {SHOP + "key": ["path", "path"], SHOP + "value": [ITEM, ORDERS]},
    ("collector", "Last poll (stat) A"): {POLL + "up": [1]},
    ("collector", "Polls (stat) A"): {POLL + "sum": [10]},
    ("collector", "Failed polls (stat) A"): {POLL + "sum": [1]},
    ("collector", "Polls (timeseries) A"): {POLL + "all": [2] * 5},
    ("collector", "Polls (timeseries) B"): {POLL + "failed": [0, 0, 0, 0, 1]},
    ("collector", "Duration of polls (timeseries) A"): {
        "monitoring_poll shop: max": [0.25, 0.25, 0.25, 0.25, 0.5],
        "monitoring_poll stock room: max": [0.25] * 5,
    },
    ("collector", "Failed polls (table) A"): {
        POLL + "service": ["shop"],
        POLL + "instance": ["shop-1:8000"],
        POLL + "error": [REFUSED],
    },
}

QUERIES = influxql()


def filled_in(query: Query, **variables: str) -> str:
    start = round(START.timestamp() * 1000)
    return filled(query.text, start, start + 299_000, 60_000, {"service": "shop", "path": ".*", **variables})


def test_every_query_has_an_expected_result() -> None:
    assert len({query[:2] for query in QUERIES}) == len(QUERIES)
    assert {query[:2] for query in QUERIES} == EXPECTED.keys()


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.dashboard}: {query.name}")
def test_query_gives_what_was_polled(influxd: Influxd, database: str, query: Query) -> None:
    assert result(influxd, database, filled_in(query)) == EXPECTED[query[:2]]


def test_the_last_poll_is_told_by_its_time(influxd: Influxd, database: str) -> None:
    query = next(query for query in QUERIES if query.name == "Last poll (stat) A")
    (row,) = influxd.select(database, filled_in(query))
    assert row["time"] == round((START + timedelta(minutes=4, seconds=1)).timestamp() * 1_000_000)


def test_an_endpoint_is_chosen_though_its_route_means_something_in_a_regular_expression(influxd: Influxd, database: str) -> None:
    query = next(query for query in QUERIES if query[:2] == ("service", "Requests (stat) A"))
    assert result(influxd, database, filled_in(query, path=escaped(ITEM))) == {SHOP + "sum": [150]}


def test_a_service_without_histogram_and_with_a_space_in_its_name_is_shown(influxd: Influxd, database: str) -> None:
    rate, percentiles = (
        next(query for query in QUERIES if query[:2] == ("service", name))
        for name in ("Requests per second by status (timeseries) A", "Percentiles (timeseries) A")
    )
    shown = result(influxd, database, filled_in(rate, service="stock room"))
    assert shown == {STOCK + "derivative_interval_200": [0, 0.1, 0.1, 0.1, 0.1]}
    assert result(influxd, database, filled_in(percentiles, service="stock room")) == {}


def test_the_demo_itself_is_shown(influxd: Influxd, tmp_path: Path) -> None:
    """What the demo's collector wrote, by the same queries: the requests of each service are those that its counters tell."""
    name = f"demo-{uuid4()}"
    influxd.create_database(name)
    target = {"INFLUXDB_URL": influxd.url, "INFLUXDB_BUCKET": name, "INFLUXDB_ORG": "", "INFLUXDB_TOKEN": "none"}
    environment = {**os.environ, **target, "DEMO_DIR": str(tmp_path / "demo"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "manage.py", "demo", "--base-port", str(free_base())]
    texts = {query[:2]: query for query in QUERIES}

    def ask(dashboard: str, panel: str, service: str = "") -> dict[str, list[Any]]:
        now = round(time.time() * 1000)
        query = texts[dashboard, panel]
        return result(influxd, name, filled(query.text, now - 600_000, now, 60_000, {"service": service, "path": ".*"}))

    with running(command, tmp_path / "demo.log", cwd=FOLDER.parent, env=environment):
        wait_for(
            lambda: ask("collector", "Polls (stat) A").get(POLL + "count", [0])[0] >= 4 * 4, 90, "four polls of four services"
        )
    assert sorted(ask("service", "$service")[POLL + "value"]) == sorted(SERVICES)
    for service in SERVICES:
        answer = influxd._query(f'SELECT "count", "interval_count" FROM "{service}" GROUP BY "path"', db=name)
        grown = 0
        for series in answer["results"][0]["series"]:
            before = [count for _time, count, of_interval in series["values"] if of_interval is None]
            grown += series["values"][-1][1] - (before[-1] if before else 0)
        assert grown > 0
        assert ask("service", "Requests (stat) A", service)[f"{service}: sum"] == [grown]
    for dashboard, panel in EXPECTED:
        ask(dashboard, panel, "test-server1")
