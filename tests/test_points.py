from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring import histogram
from monitoring.collector import intervals, points
from monitoring.collector.sinks.base import PolledInstance
from monitoring.models import milliseconds
from monitoring.wire import EndpointMetrics, MetricsDocument
from tests import points_by_field

NOW = datetime(2026, 11, 22, 9, 30, 0, 123456, tzinfo=timezone.utc)
STAMP = "1795339800123"


def endpoint(method: str = "GET", route: str = "/process", **values: Any) -> EndpointMetrics:
    values = {"count": 40, "duration_sum": 0.105, "status_codes": {200: 39, 404: 1}, **values}
    return EndpointMetrics(method, route, **values)


def interval_of(*endpoints: intervals.EndpointInterval) -> intervals.InstanceInterval:
    return intervals.InstanceInterval(NOW - timedelta(minutes=1), NOW, False, list(endpoints))


def polled(*endpoints: EndpointMetrics, interval: intervals.InstanceInterval | None = None, **values: Any) -> PolledInstance:
    document = MetricsDocument("shop", {one.key: one for one in endpoints})
    return PolledInstance(
        **{
            "service": "shop",
            "instance": "shop.internal:8000",
            "polled_at": NOW,
            "poll_duration": 0.25,
            "error": "",
            "document": document,
            "interval": interval,
            **values,
        }
    )


def split(text: str, separator: str) -> list[str]:
    """Split at what is neither escaped nor, for fields, inside a quoted string."""
    parts, current, quoted, skip = [], "", False, False
    for character in text:
        if skip:
            skip = False
        elif character == "\\":
            skip = True
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            parts.append(current)
            current = ""
            continue
        current += character
    return [*parts, current]


def unescape(text: str, special: str) -> str:
    return re.sub(rf"\\([{re.escape(special)}])", r"\1", text)


def value_of(text: str) -> int | float | str:
    if text.startswith('"'):
        assert text.endswith('"')
        assert len(text) > 1
        return unescape(text[1:-1], '"\\')
    return int(text[:-1]) if text.endswith("i") else float(text)


def parse(line: str) -> tuple[str, dict[str, str], dict[str, int | float | str], int]:
    """The line protocol, as the specification reads: measurement, tags, fields, timestamp.

    Quotes mean something in field values only, so measurement and tags are cut off first.
    """
    assert "\n" not in line
    assert not line.startswith("#")
    line.encode()
    match = re.match(r"((?:[^\\ ]|\\.)+) (.*) (-?\d+)$", line)
    assert match, line
    key, fields, timestamp = match.groups()
    measurement, *tags = re.split(r"(?<!\\),", key)
    pairs = [re.split(r"(?<!\\)=", tag) for tag in tags]
    assert all(len(pair) == 2 and pair[1] for pair in pairs), line
    assert [pair[0] for pair in pairs] == sorted(pair[0] for pair in pairs)
    return (
        unescape(measurement, ", "),
        {name: unescape(value, ",= ") for name, value in pairs},
        {name: value_of(value) for name, value in (split(field, "=") for field in split(fields, ","))},
        int(timestamp),
    )


def carried(text: str) -> str:
    """What a reader gets of a text: the module's docstring in other words."""
    kept = ["\ufffd" if not char.isprintable() and char in points._UNPRINTABLE.findall(char) else char for char in text]
    return "".join(
        "\ufffd" if char == "\\" and (number + 1 == len(kept) or kept[number + 1] in "\\,= ") else char
        for number, char in enumerate(kept)
    )


def test_golden_lines() -> None:
    grown = intervals.EndpointInterval("GET", "/process", 4, 0.012, 0.005, {200: 4}, {-35: 3, -31: 1})
    idle = endpoint("POST", "/items/<int:pk>/", count=1, duration_sum=2, status_codes={201: 1})
    assert points.lines(polled(endpoint(), idle, interval=interval_of(grown))) == [
        (
            "monitoring_poll,instance=shop.internal:8000,service=shop"
            f' up=1i,poll_duration=0.25,polls=1i,failures=0i,error="" {STAMP}'
        ),
        (
            "shop,instance=shop.internal:8000,method=GET,path=GET/process,route=/process"
            " count=40i,duration=0.105,200=39i,404=1i,interval_count=4i,interval_duration=0.012,interval_errors=0i"
            f",interval_200=4i,p50=0.002523412102108501,p95=0.005046824204217002,p99=0.005046824204217002,max=0.005 {STAMP}"
        ),
        (
            "shop,instance=shop.internal:8000,method=POST,path=POST/items/<int:pk>/,route=/items/<int:pk>/"
            f" count=1i,duration=2.0,201=1i,interval_count=0i,interval_duration=0.0,interval_errors=0i {STAMP}"
        ),
    ]


def test_a_failed_poll_is_one_point() -> None:
    (line,) = points.lines(polled(document=None, error='refused: "no"\nC:\\dir\\', poll_duration=10))
    assert line == (
        "monitoring_poll,instance=shop.internal:8000,service=shop"
        f' up=0i,poll_duration=10.0,polls=1i,failures=1i,error="refused: \\"no\\" C:\\\\dir\\\\" {STAMP}'
    )


def test_the_baseline_has_no_fields_of_an_interval() -> None:
    _poll, line = points.lines(polled(endpoint(), interval=None))
    assert parse(line)[2] == {"count": 40, "duration": 0.105, "200": 39, "404": 1}


def test_quantiles_only_where_there_is_a_histogram() -> None:
    grown = intervals.EndpointInterval("GET", "/process", 4, 0.012, None, {200: 4}, None)
    _poll, line = points.lines(polled(endpoint(), interval=interval_of(grown)))
    names = {"count", "duration", "200", "404", "interval_count", "interval_duration", "interval_errors", "interval_200"}
    assert set(parse(line)[2]) == names


@given(st.datetimes(timezones=st.sampled_from([timezone.utc, timezone(timedelta(hours=5, minutes=30))])))
def test_timestamps_are_those_of_the_history(moment: datetime) -> None:
    assert parse(points.lines(polled(polled_at=moment))[0])[3] == milliseconds(moment)


def test_timestamps_know_time_zones() -> None:
    assert parse(points.lines(polled(polled_at=NOW))[0])[3] == int(STAMP)
    there = timezone(timedelta(hours=5, minutes=30))
    assert parse(points.lines(polled(polled_at=NOW.astimezone(there)))[0])[3] == int(STAMP)


@pytest.mark.parametrize(
    "values",
    [{"duration_sum": float("inf")}, {"duration_sum": float("nan")}, {"count": 2**63}, {"status_codes": {200: 2**64}}],
)
def test_what_no_database_holds_is_left_out(values: dict[str, Any]) -> None:
    _poll, line = points.lines(polled(endpoint(**values)))
    fields = parse(line)[2]
    (name,) = values
    assert {"duration_sum": "duration", "count": "count", "status_codes": "200"}[name] not in fields
    assert len(fields) >= 2


def test_an_endpoint_without_any_number_has_no_line() -> None:
    nothing = endpoint(count=2**63, duration_sum=float("nan"), status_codes={})
    assert len(points.lines(polled(nothing))) == 1
    assert set(parse(points.lines(polled(poll_duration=float("inf")))[0])[2]) == {"up", "polls", "failures", "error"}


@pytest.mark.parametrize(
    ("service", "measurement"),
    [("_internal", "service_internal"), ("#1 shop", "service#1 shop"), ("", "service"), ("a_#", "a_#")],
)
def test_a_measurement_never_starts_as_a_comment_or_a_reserved_name(service: str, measurement: str) -> None:
    _poll, line = points.lines(polled(endpoint(), service=service))
    assert parse(line)[0] == measurement


def test_an_empty_tag_is_left_out() -> None:
    _poll, line = points.lines(polled(endpoint(route=""), instance=""))
    assert parse(line)[1] == {"method": "GET", "path": "GET"}


def test_a_long_error_is_bounded() -> None:
    fields = parse(points.lines(polled(error="é" * 70_000, document=None))[0])[2]
    assert fields["error"] == "é" * points.MAX_ERROR_LENGTH


def test_the_longest_names_fit_a_series_key() -> None:
    """InfluxDB refuses a series key of more than 65,535 bytes: the registry's and the document's limits keep below it."""
    longest = polled(endpoint(route="😀" * 400), service="😀" * 200, instance="😀" * 500)
    assert max(len(line.encode()) for line in points.lines(longest)) < 16_000


ANY_TEXT = st.text() | st.text(alphabet='\\,= "#_\n\r\ta😀\u2028\x00')


@given(service=ANY_TEXT, instance=ANY_TEXT, method=st.sampled_from(["GET", "_OTHER"]), route=ANY_TEXT, error=ANY_TEXT)
def test_any_text_comes_back(service: str, instance: str, method: str, route: str, error: str) -> None:
    one = polled(endpoint(method, route), service=service, instance=instance, error=error)
    poll, line = (parse(text) for text in points.lines(one))
    name = service if service and service[0] not in "_#" else "service" + service
    assert line[0] == carried(name)
    tags = {"instance": instance, "method": method, "path": method + route, "route": route}
    assert line[1] == {key: carried(value) for key, value in tags.items() if value}
    assert poll[1] == {key: carried(value) for key, value in {"instance": instance, "service": service}.items() if value}
    assert poll[2]["error"] == points._printable(" ".join(error.split())[: points.MAX_ERROR_LENGTH])
    assert poll[2]["up"] == (0 if error else 1)


NUMBERS = st.floats() | st.integers(0, 2**70)


@given(
    count=st.integers(0, 2**64),
    total=NUMBERS,
    longest=st.none() | st.floats(),
    codes=st.dictionaries(st.integers(100, 999), st.integers(0, 2**70)),
)
def test_fields_keep_type_and_value(count: int, total: float, longest: float | None, codes: dict[int, int]) -> None:
    grown = intervals.EndpointInterval("GET", "/process", count, total, longest)
    found = points.lines(polled(endpoint(count=count, duration_sum=total, status_codes=codes), interval=interval_of(grown)))
    for line in found[1:]:
        fields = parse(line)[2]
        assert all(
            type(value) is (float if name in ("duration", "interval_duration", "max") else int) for name, value in fields.items()
        )
        assert fields.get("count", count) == count
        assert fields.get("duration") == (float(total) if math.isfinite(total) else None)
        assert fields.get("max") == (longest if longest is not None and math.isfinite(longest) else None)


def test_all_endpoints_of_the_document_are_written() -> None:
    many = [endpoint(route=f"/{number}") for number in range(500)]
    found = points.lines(replace(polled(*many), error="the sum is odd"))
    assert len(found) == 501


COUNTS = st.integers(0, 1000) | st.sampled_from([2**48, 2**63 - 1, 2**63, 2**70])
SECONDS = st.floats() | st.integers(0, 2**70) | st.sampled_from([0.0, -0.0, 1e-320, 1e16, 1e300])
CODES = st.dictionaries(st.integers(0, 999), COUNTS, max_size=5)
BUCKETS = st.none() | st.dictionaries(st.integers(histogram.MIN_INDEX, histogram.MAX_INDEX), COUNTS, max_size=20)
ROUTES = st.sampled_from(["/a", "/b c", "/c,d=e", "\\", "/\u00e9", "", "/items/<int:pk>/", "/\n"])
METHODS = st.sampled_from(["GET", "POST", "_OTHER", ""])
ENDPOINTS = st.lists(
    st.builds(EndpointMetrics, METHODS, ROUTES, COUNTS, SECONDS, st.none() | SECONDS, CODES, BUCKETS), max_size=4
)
GROWN = st.lists(
    st.builds(intervals.EndpointInterval, METHODS, ROUTES, COUNTS, SECONDS, st.none() | SECONDS, CODES, BUCKETS), max_size=4
)


@given(endpoints=ENDPOINTS, grown=st.none() | GROWN, service=ANY_TEXT, instance=ANY_TEXT, error=ANY_TEXT, seconds=SECONDS)
def test_lines_are_those_of_the_plain_way(
    endpoints: list[EndpointMetrics],
    grown: list[intervals.EndpointInterval] | None,
    service: str,
    instance: str,
    error: str,
    seconds: float,
) -> None:
    interval = None if grown is None else interval_of(*grown)
    one = polled(*endpoints, interval=interval, service=service, instance=instance, error=error, poll_duration=seconds)
    assert points.lines(one) == points_by_field.lines(one)
