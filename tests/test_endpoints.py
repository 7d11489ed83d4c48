"""A service that reports other endpoints at every poll has so many and no more, and every request is counted all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring import packing
from monitoring.collector import endpoints, outbox, points
from monitoring.collector.outcomes import Outcome
from monitoring.collector.sinks.database import Stored, store
from monitoring.models import Endpoint, EndpointInterval, Instance, Interval, Resolution, Service
from monitoring.wire import OTHER_METHOD, OVERFLOW_ROUTE, EndpointMetrics, MetricsDocument

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
BOUND = 3
OTHER = OTHER_METHOD + OVERFLOW_ROUTE


@pytest.fixture(autouse=True)
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MAX_ENDPOINTS", BOUND)


@pytest.fixture
def instance() -> Instance:
    return add_instance(Service.objects.create(name="shop", registered_at=NOON - timedelta(days=9)), 1)


def add_instance(service: Service, number: int) -> Instance:
    url = f"http://shop-{number}:8000/metrics"
    return Instance.objects.create(service=service, url=url, registered_at=NOON - timedelta(days=9))


def counted(route: str, count: int, bucket: int | None = -4, method: str = "GET") -> EndpointMetrics:
    """Each request took half a second, one failed."""
    buckets = None if bucket is None else {bucket: count}
    codes = {200: count - 1, 500: 1} if count else {}
    return EndpointMetrics(method, route, count, count * 0.5, 0.5 if count else None, codes, buckets)


def outcome(instance: Instance, minutes: float, reported: Iterable[EndpointMetrics]) -> Outcome:
    document = MetricsDocument("shop", {one.key: one for one in reported}, float(instance.pk))
    return Outcome(instance, NOON + timedelta(minutes=minutes), 0.1, document)


def poll(instance: Instance, minutes: float, counts: dict[str, int], to_outbox: bool = False) -> Stored:
    (stored,) = store(
        instance.service, [outcome(instance, minutes, [counted(*one) for one in counts.items()])], to_outbox=to_outbox
    )
    return stored


def known() -> list[str]:
    return sorted(str(one) for one in Endpoint.objects.all())


def shares() -> list[tuple[str, int]]:
    rows = EndpointInterval.objects.order_by("pk").values_list("endpoint__method", "endpoint__route", "count")
    return [(method + route, count) for method, route, count in rows]


def lines_of(stored: Stored) -> dict[str, set[str]]:
    """The names of the fields of each endpoint's line."""
    found = {}
    for line in points.lines(stored.polled)[1:]:
        tags, fields, _ = line.split(" ")
        path = dict(tag.split("=") for tag in tags.split(",")[1:])["path"]
        assert path not in found
        found[path] = {field.partition("=")[0] for field in fields.split(",")}
    return found


def test_an_endpoint_is_known_from_the_first_document_on(instance: Instance) -> None:
    stored = poll(instance, 0, {"/a": 10, "/at-rest": 0})
    assert known() == ["GET/a", "GET/at-rest"]
    assert lines_of(stored).keys() == {"GET/a", "GET/at-rest"}
    assert stored.warning == ""


def test_what_is_beyond_the_bound_is_added_up_exactly(instance: Instance) -> None:
    poll(instance, 0, {"/a": 10, "/b": 10})
    slow = EndpointMetrics("POST", "/z2", 3, 6.0, 4.0, {200: 1, 503: 2}, {8: 3})
    mute = EndpointMetrics("GET", "/z3", 2, 0.25, None, {404: 2}, None)
    reported = [counted("/a", 14), counted("/b", 10), counted("/c", 5), counted("/z1", 7), slow, mute]
    (stored,) = store(instance.service, [outcome(instance, 1, reported)])
    assert known() == ["GET/a", "GET/b", "GET/c", OTHER]
    assert shares() == [("GET/a", 4), ("GET/c", 5), (OTHER, 12)]
    other = EndpointInterval.objects.get(endpoint__route=OVERFLOW_ROUTE)
    assert (other.errors, other.duration_sum, other.duration_max) == (3, 9.75, 4.0)
    assert packing.unpack_codes(other.status_codes) == {200: 7, 404: 2, 500: 1, 503: 2}
    assert other.buckets is not None
    assert packing.unpack_buckets(other.buckets) == {-4: 7, 8: 3}
    total = Interval.objects.get()
    assert (total.count, total.errors, total.duration_sum, total.duration_max) == (21, 4, 14.25, 4.0)
    assert packing.unpack_codes(total.status_codes) == {200: 15, 404: 2, 500: 2, 503: 2}
    assert stored.polled.interval is not None
    assert sum(one.count for one in stored.polled.interval.endpoints) == 21


def test_without_any_histogram_there_is_none(instance: Instance) -> None:
    poll(instance, 0, {"/a": 1, "/b": 1, "/c": 1})
    store(instance.service, [outcome(instance, 1, [counted("/x", 2, None), counted("/y", 3, None)])])
    row = EndpointInterval.objects.get()
    assert (row.count, row.buckets) == (5, None)


def test_a_service_whose_routes_change_at_every_poll_stays_bounded(instance: Instance) -> None:
    """Twenty new names each minute, of which fifteen had two requests and five none."""
    names: set[str] = set()
    for minute in range(10):
        counts = {f"/{minute}-{number}": 2 * (number % 4 > 0) for number in range(20)}
        stored = poll(instance, minute, counts, to_outbox=True)
        names |= lines_of(stored).keys()
        assert "more than 3 endpoints" in stored.warning
    assert len(known()) == BOUND + 1
    assert names == set(known())
    written = {line.split(" ")[0] for line in outbox.next_batch(10_000).lines}
    assert len(written) == BOUND + 1 + 1  # and one for the polls
    assert list(Interval.objects.order_by("end").values_list("count", flat=True)) == [30] * 9
    assert shares() == [(OTHER, 30)] * 9
    assert EndpointInterval.objects.filter(resolution=Resolution.POLL).count() == 9
    instance.refresh_from_db()
    assert instance.warning.endswith("are counted together, as _OTHER/_other. Do its routes hold ids or names?")


def test_what_the_document_itself_calls_other_is_part_of_it(instance: Instance) -> None:
    poll(instance, 0, {"/a": 1, "/b": 1, "/c": 1})
    own = [counted(OVERFLOW_ROUTE, 5, method=OTHER_METHOD), counted("/d", 2), counted("/a", 1)]
    (stored,) = store(instance.service, [outcome(instance, 1, own)])
    assert shares() == [(OTHER, 7)]
    (line,) = (one for one in points.lines(stored.polled) if "path=_OTHER" in one)
    assert " count=5i,duration=2.5,200=4i,500=1i,interval_count=7i,interval_duration=3.5,interval_errors=2i," in line
    assert lines_of(stored).keys() == {"GET/a", OTHER}


def test_that_alone_is_nothing_odd_and_takes_no_place(instance: Instance) -> None:
    own = counted(OVERFLOW_ROUTE, 5, method=OTHER_METHOD)
    for minute, routes in enumerate((["/a"], ["/a", "/b", "/c"])):
        (stored,) = store(instance.service, [outcome(instance, minute, [own, *(counted(route, 1) for route in routes)])])
        assert stored.warning == ""
    assert known() == ["GET/a", "GET/b", "GET/c", OTHER]


def test_points_of_what_is_beyond_have_the_fields_of_the_interval_alone(instance: Instance) -> None:
    assert lines_of(poll(instance, 0, {"/a": 1, "/b": 1, "/c": 1, "/d": 1})).keys() == {"GET/a", "GET/b", "GET/c"}
    stored = poll(instance, 1, {"/a": 1, "/d": 5, "/idle": 0})
    assert lines_of(stored)["GET/a"] >= {"count", "interval_count"}
    assert lines_of(stored)[OTHER] == {
        "interval_count", "interval_duration", "interval_errors", "interval_200", "p50", "p95", "p99", "max"
    }  # fmt: skip
    assert lines_of(poll(instance, 2, {"/a": 1, "/d": 5})).keys() == {"GET/a"}


def test_baselines_keep_what_is_beyond_so_that_it_counts_once(instance: Instance) -> None:
    for minute, count in enumerate((10, 12, 15)):
        poll(instance, minute, {"/a": 1, "/b": 1, "/c": 1, "/d": count})
    assert shares() == [(OTHER, 2), (OTHER, 3)]


def test_all_instances_of_a_service_share_the_bound(instance: Instance) -> None:
    second = add_instance(instance.service, 2)
    for minute in range(2):
        reported = {one: [counted(f"/{one.pk}-{number}", 2 + minute) for number in range(2)] for one in (instance, second)}
        stored = store(instance.service, [outcome(one, minute, found) for one, found in reported.items()])
    assert len(known()) == BOUND + 1
    assert Counter(key for key, _ in shares())[OTHER] == 1
    assert sum(count for _, count in shares()) == 4
    assert sorted(bool(one.warning) for one in stored) == [False, True]


def test_services_do_not_share_it(instance: Instance) -> None:
    other = add_instance(Service.objects.create(name="cart"), 3)
    assert not poll(instance, 0, {"/a": 1, "/b": 1, "/c": 1}).warning
    assert not poll(other, 0, {"/a": 1, "/d": 1, "/e": 1}).warning


def test_endpoints_that_were_known_before_stay(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the bound is lowered, say."""
    poll(instance, 0, {"/a": 1, "/b": 1, "/c": 1})
    monkeypatch.setattr(endpoints, "MAX_ENDPOINTS", 1)
    poll(instance, 1, {"/a": 2, "/b": 2, "/c": 2, "/d": 2})
    assert shares() == [("GET/a", 1), ("GET/b", 1), ("GET/c", 1), (OTHER, 2)]


def test_the_endpoints_are_asked_for_once_a_poll(instance: Instance) -> None:
    second = add_instance(instance.service, 2)
    for minute in range(3):
        found = [outcome(one, minute, [counted("/a", 2 + minute), counted("/d", 2 + minute)]) for one in (instance, second)]
        with CaptureQueriesContext(connection) as queries:
            store(instance.service, found)
    assert sum('"monitoring_endpoint"' in one["sql"] for one in queries.captured_queries) == 1
