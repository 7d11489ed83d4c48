"""Points as two real servers take and give them back: influxd judges the line protocol, VictoriaMetrics reads it its own way."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import pytest

from monitoring import histogram
from monitoring.collector import points
from monitoring.collector.intervals import EndpointInterval, InstanceInterval
from monitoring.collector.sinks.base import Fault, PolledInstance
from monitoring.conf import InfluxDB
from monitoring.models import milliseconds
from monitoring.wire import EndpointMetrics, MetricsDocument
from tests.live.servers import Influxd, VictoriaMetrics, requires, wait_for
from tests.sending import deliver_points, write_points

HOSTILE = [
    "plain",
    "two words",
    "a,b=c d",
    '"quoted"',
    '"',
    "it's",
    "back\\slash",
    "C:\\",
    "\\,\\ \\=\\\\",
    "\\\\",
    "line\nbreak\r\ttab",
    "\u2028\x85\x00",
    "_reserved",
    "#comment",
    " leading",
    "trailing ",
    " ",
    "=",
    "x" * 200,
    "é ünï 漢字 😀",
    "%0A\\n${x}{{y}}",
    "/items/<int:pk>/",
]
FIELDS = {
    "count": 40,
    "duration": 0.105,
    "200": 39,
    "404": 1,
    "interval_count": 4,
    "interval_duration": 1e-05,
    "interval_errors": 0,
    "interval_200": 4,
    "max": 3.5,
}


def polled(names: list[str], moment: datetime, instance: str) -> list[PolledInstance]:
    """A poll of a service of each name, with one endpoint of that name."""
    rounds = []
    for name in names:
        endpoint = EndpointMetrics("GET", name, 40, 0.105, 3.5, {200: 39, 404: 1}, {-35: 40})
        grown = EndpointInterval("GET", name, 4, 1e-05, 3.5, {200: 4}, {-35: 3, -31: 1})
        interval = InstanceInterval(moment - timedelta(minutes=1), moment, False, [grown])
        document = MetricsDocument(name, {endpoint.key: endpoint})
        rounds.append(PolledInstance(name, instance, moment, 0.25, name, document, interval))
    return rounds


def expected_fields() -> dict[str, float]:
    return FIELDS | {name: histogram.midpoint(bucket) for name, bucket in (("p50", -35), ("p95", -31), ("p99", -31))}


def now() -> datetime:
    return datetime.now(timezone.utc)


@requires("influxd")
def test_influxd_gives_every_field_and_name_back(influxd: Influxd) -> None:
    moment, database = now(), f"fleet-{uuid4()}"
    influxd.create_database(database)
    write_points(InfluxDB(influxd.url, "", "", database), polled(HOSTILE, moment, "shop.internal:8000"))

    stamp = 1000 * milliseconds(moment)
    measurements = {row["name"] for row in influxd.select(database, "SHOW MEASUREMENTS")}
    assert measurements == {"monitoring_poll", *(unescaped_measurement(name) for name in HOSTILE)}
    rows = {row["route"]: row for row in influxd.select(database, "SELECT * FROM /.*/") if row.get("route")}
    for name in HOSTILE:
        row = rows[points._unambiguous(name)]
        assert row["time"] == stamp
        assert row["instance"] == "shop.internal:8000"
        assert row["method"] == "GET"
        assert row["path"] == points._unambiguous("GET" + name)
        assert {field: row[field] for field in expected_fields()} == expected_fields()
    polls = {row["service"]: row for row in influxd.select(database, "SELECT * FROM monitoring_poll")}
    for name in HOSTILE:
        row = polls[points._unambiguous(name)]
        assert row["error"] == points._printable(" ".join(name.split()))
        assert (row["up"], row["polls"], row["failures"], row["poll_duration"]) == (0, 1, 1, 0.25)
    types = {row["fieldKey"]: row["fieldType"] for row in influxd.select(database, "SHOW FIELD KEYS FROM plain")}
    integers = {"count", "interval_count", "interval_errors", "interval_200", "200", "404"}
    assert types == {field: "integer" if field in integers else "float" for field in expected_fields()}
    types = {row["fieldKey"]: row["fieldType"] for row in influxd.select(database, "SHOW FIELD KEYS FROM monitoring_poll")}
    assert types == {"up": "integer", "polls": "integer", "failures": "integer", "poll_duration": "float", "error": "string"}


def unescaped_measurement(name: str) -> str:
    return points._unambiguous("service" + name if name[0] in "_#" else name)


@requires("influxd")
def test_an_idle_service_keeps_the_types_of_its_fields(influxd: Influxd) -> None:
    """A type conflict is refused by influxd: whole numbers as durations, an endpoint at rest, an error that comes and goes."""
    database = f"fleet-{uuid4()}"
    influxd.create_database(database)
    target = InfluxDB(influxd.url, "", "", database)
    start = now()
    for minute, (total, error) in enumerate([(0, ""), (1, "it refused"), (1.5, "")]):
        moment = start + timedelta(minutes=minute)
        endpoint = EndpointMetrics("GET", "/", minute, total, None, {200: minute})
        grown = [EndpointInterval("GET", "/", 1, total, total, {200: 1})] if minute else []
        interval = InstanceInterval(moment - timedelta(minutes=1), moment, False, grown)
        document = MetricsDocument("shop", {endpoint.key: endpoint})
        write_points(target, [PolledInstance("shop", "shop:80", moment, total, error, document, interval)])
    (row,) = influxd.select(database, 'SELECT SUM(interval_count), SUM(interval_duration), MAX("duration") FROM shop')
    assert (row["sum"], row["sum_1"], row["max"]) == (2, 2.5, 1.5)
    errors = [row["error"] for row in influxd.select(database, "SELECT error FROM monitoring_poll")]
    assert errors == ["", "it refused", ""]


@requires("influxd")
def test_a_missing_database_names_the_bucket(influxd: Influxd) -> None:
    done = deliver_points(InfluxDB(influxd.url, "", "", "no such bucket"), polled(["plain"], now(), "shop:80"))
    assert done.failure is not None
    assert done.failure.fault is Fault.SETTING
    assert re.search(r"database not found.*INFLUXDB\['BUCKET'\] \('no such bucket'\)", done.failure.reason)


@requires("influxd")
def test_more_than_one_batch_arrives_whole(influxd: Influxd) -> None:
    database = f"fleet-{uuid4()}"
    influxd.create_database(database)
    names = [f"service {number}" for number in range(3000)]  # two lines each
    write_points(InfluxDB(influxd.url, "", "", database), polled(names, now(), "shop:80"))
    (row,) = influxd.select(database, "SELECT COUNT(up) FROM monitoring_poll")
    assert row["count"] == 3000
    assert len(influxd.select(database, "SHOW MEASUREMENTS")) == 3001


@requires("victoria-metrics")
def test_victoria_metrics_gives_every_field_and_name_back(victoria_metrics: VictoriaMetrics) -> None:
    moment, instance = now(), f"{uuid4()}:8000"
    write_points(InfluxDB(victoria_metrics.url, "", "", "fleet"), polled(HOSTILE, moment, instance))

    wanted = expected_fields()
    every = len(HOSTILE) * (len(wanted) + 5)
    selector = f'{{instance="{instance}"}}'
    found = wait_for(
        lambda: series if len(series := victoria_metrics.series(selector)) == every else None,
        what=f"{every} series in VictoriaMetrics",
    )
    values = {}
    for series in found:
        labels = series["metric"]
        assert series["timestamps"] == [milliseconds(moment)]
        values[labels["__name__"], labels.get("route"), labels.get("service")] = series["values"]
    for name in HOSTILE:
        route = points._unambiguous(name)
        for field, value in wanted.items():
            assert values[f"{unescaped_measurement(name)}_{field}", route, None] == [pytest.approx(value, rel=1e-12)]
        assert values["monitoring_poll_up", None, route] == [0]
        assert values["monitoring_poll_poll_duration", None, route] == [0.25]
        assert values["monitoring_poll_polls", None, route] == values["monitoring_poll_failures", None, route] == [1]
