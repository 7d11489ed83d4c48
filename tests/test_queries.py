"""The dashboard's numbers, from rows written by hand."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from monitoring import histogram
from monitoring.dashboard import queries, reading
from monitoring.dashboard.conditions import Condition
from monitoring.dashboard.rows import ServiceRow
from monitoring.dashboard.windows import WINDOWS
from monitoring.models import Availability, Endpoint, Instance, Resolution, RolledUp, Service, milliseconds
from tests.history import add_interval, make_service

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 1, 12, 0, 10, tzinfo=timezone.utc)
WINDOW = WINDOWS["15m"]


def minutes_ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def only_row() -> ServiceRow:
    (row,) = queries.fleet(WINDOW, NOW).services
    return row


def test_the_rate_divides_by_covered_time_idle_intervals_included() -> None:
    instance = make_service("shop", NOW).instances.get()
    add_interval(instance, minutes_ago(0), 60, 120, errors=3, duration_sum=6.0, duration_max=0.5)
    add_interval(instance, minutes_ago(1), 180, 0)  # idle, and three polls long
    row = only_row()
    assert row.figures.rate == 0.5
    assert row.figures.error_rate == 0.025
    assert row.figures.average == 0.05
    assert row.figures.maximum == 0.5
    assert row.as_of is None


def test_polls_closer_than_the_steps_of_the_chart() -> None:
    instance = make_service("shop", NOW).instances.get()
    for poll in range(4):  # all end in the same step of 30 seconds
        add_interval(instance, NOW - timedelta(seconds=2 * poll), 2, 10 * poll)
    assert only_row().figures.rate == 7.5
    assert only_row().series[-1].rate == 7.5


def test_instances_add_up_though_they_cover_different_times() -> None:
    one, other = make_service("shop", NOW, instances=2).instances.all()
    add_interval(one, minutes_ago(0), 600, 6000)
    add_interval(other, minutes_ago(0), 60, 60)  # registered a minute ago
    assert only_row().figures.rate == 11.0
    assert only_row().figures.count == 6060


def test_a_deleted_instance_counts_as_requests_but_no_longer_as_a_rate() -> None:
    service = make_service("shop", NOW, instances=2)
    one, other = service.instances.all()
    add_interval(one, minutes_ago(7), 420, 4200, errors=42, duration_sum=42.0)
    add_interval(other, minutes_ago(0), 420, 4200, duration_sum=42.0)
    one.delete()
    figures = only_row().figures
    assert figures.rate == 10.0
    assert figures.count == 8400
    assert figures.error_rate == 0.005
    other.delete()
    assert only_row().figures.rate == 10.0  # nothing else is left


def test_only_what_ends_in_the_window_counts() -> None:
    instance = make_service("shop", NOW).instances.get()
    add_interval(instance, minutes_ago(1), 60, 60)
    add_interval(instance, minutes_ago(15.1), 60, 60000)
    assert only_row().figures.count == 60
    (row,) = queries.fleet(WINDOWS["1h"], NOW).services
    assert row.figures.count == 60060


def test_quantiles_come_from_the_merged_histograms() -> None:
    one, other = make_service("shop", NOW, instances=2).instances.all()
    add_interval(one, minutes_ago(0), 60, 90, buckets={-30: 90})
    add_interval(other, minutes_ago(1), 60, 10, buckets={-10: 10})
    figures = only_row().figures
    assert figures.p50 == histogram.quantile({-30: 1}, 0.5)
    assert figures.p95 == histogram.quantile({-10: 1}, 0.5)


def test_without_a_histogram_there_is_no_quantile_and_no_maximum() -> None:
    service = make_service("gin", NOW)
    instance = service.instances.get()
    endpoint = Endpoint.objects.create(service=service, method="GET", route="/process")
    add_interval(instance, minutes_ago(0), 60, 40, duration_sum=0.105)
    add_interval(instance, minutes_ago(0), 60, 40, endpoint=endpoint, duration_sum=0.105, status_codes={200: 40})
    page = queries.service(service.pk, WINDOW, NOW)
    assert page is not None
    for figures in (page.head.figures, page.endpoints[0].figures):
        assert (figures.p50, figures.p95, figures.maximum) == (None, None, None)
        assert figures.average == pytest.approx(0.002625)


def test_no_request_gives_a_rate_of_zero_and_no_average() -> None:
    add_interval(make_service("idle", NOW).instances.get(), minutes_ago(0), 60, 0)
    figures = only_row().figures
    assert figures.rate == 0.0
    assert (figures.error_rate, figures.average) == (None, None)


def test_an_endpoint_divides_by_its_instances_covered_time() -> None:
    service = make_service("shop", NOW, instances=2)
    one, other = service.instances.all()
    busy = Endpoint.objects.create(service=service, method="GET", route="/a")
    rare = Endpoint.objects.create(service=service, method="POST", route="/b")
    Endpoint.objects.create(service=service, method="GET", route="/idle")
    for minute in range(4):
        add_interval(one, minutes_ago(minute), 60, 60)
        add_interval(one, minutes_ago(minute), 60, 60, endpoint=busy, status_codes={200: 59, 500: 1}, errors=1)
        add_interval(other, minutes_ago(minute), 60, 0)
    add_interval(other, minutes_ago(0), 60, 12, endpoint=rare, duration_max=0.25, status_codes={201: 12}, buckets={-8: 12})
    page = queries.service(service.pk, WINDOW, NOW)
    assert page is not None
    found = {row.route: row for row in page.endpoints}
    assert found["/a"].figures.rate == 1.0
    assert found["/a"].status_codes == ((200, 236), (500, 4))
    assert found["/a"].figures.errors == 4
    assert found["/b"].figures.rate == 0.05  # 12 in the four minutes that its instance was watched
    assert found["/b"].figures.maximum == 0.25
    assert found["/b"].figures.p95 == histogram.quantile({-8: 12}, 0.95)
    assert page.idle_endpoints == 1


def test_the_latest_interval_stands_in_for_an_empty_window() -> None:
    service = make_service("hourly", NOW, instances=2, schedule="0 * * * *")
    Instance.objects.update(last_polled_at=minutes_ago(40))
    one, other = service.instances.all()
    endpoint = Endpoint.objects.create(service=service, method="GET", route="/a")
    for instance in (one, other):
        add_interval(instance, minutes_ago(100), 3600, 99999, endpoint=endpoint)
        add_interval(instance, minutes_ago(100), 3600, 99999)
        add_interval(instance, minutes_ago(40), 3600, 3600, buckets={-30: 3600})
        add_interval(instance, minutes_ago(40), 3600, 3600, endpoint=endpoint, status_codes={200: 3600})
    page = queries.service(service.pk, WINDOW, NOW)
    assert page is not None
    assert page.head.as_of == minutes_ago(40)
    assert page.head.condition is Condition.UP
    assert page.head.figures.rate == 2.0
    assert page.head.figures.p95 is not None
    assert all(point.rate is None for point in page.head.series)
    assert [(row.figures.rate, row.status_codes) for row in page.endpoints] == [(2.0, ((200, 7200),))]
    assert queries.fleet(WINDOW, NOW).figures.rate == 2.0  # polled as it should be: that is what it does


def test_what_a_silent_service_did_long_ago_is_no_part_of_the_fleet() -> None:
    add_interval(make_service("gone", NOW, error="refused").instances.get(), minutes_ago(300), 60, 6000)
    add_interval(make_service("here", NOW).instances.get(), minutes_ago(0), 60, 60)
    found = queries.fleet(WINDOW, NOW)
    assert [row.figures.rate for row in found.services] == [100.0, 1.0]
    assert found.figures.rate == 1.0


def test_fleet_totals_add_up_services() -> None:
    for name, bucket, count in (("a", -30, 90), ("b", -10, 10)):
        instance = make_service(name, NOW).instances.get()
        add_interval(instance, minutes_ago(0), 10, count, duration_sum=1.0, errors=1, buckets={bucket: count})
    figures = queries.fleet(WINDOW, NOW).figures
    assert (figures.rate, figures.error_rate, figures.average) == (10.0, 0.02, 0.02)
    assert figures.p95 == histogram.quantile({-10: 1}, 1)


def test_a_series_fills_the_steps_that_a_long_interval_covers() -> None:
    instance = make_service("slow", NOW).instances.get()
    add_interval(instance, minutes_ago(5), 300, 300)
    rates = [point.rate for point in only_row().series]
    assert len(rates) == 31
    assert set(rates[:10]) == {None}
    assert set(rates[12:]) == {1.0}  # ten steps covered, and ten until the next poll is due


def test_a_series_tells_when_it_happened() -> None:
    instance = make_service("shop", NOW).instances.get()
    for minute in range(15):
        add_interval(instance, minutes_ago(minute), 60, 600 if minute == 7 else 60, errors=300 if minute == 7 else 0)
    points = only_row().series
    assert max(point.rate or 0 for point in points) == 10.0
    assert [index for index, point in enumerate(points) if point.error_rate] == [15, 16]
    assert points[-1].rate == 1.0


def test_quantiles_are_bounded_and_say_from_when(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = make_service("shop", NOW).instances.get()
    for minute in range(5):
        add_interval(instance, minutes_ago(minute), 60, 1, buckets={-minute: 1})
    assert queries.fleet(WINDOW, NOW).documents_since is None
    monkeypatch.setattr(reading, "MAX_PACKED", 2)
    found = queries.fleet(WINDOW, NOW)
    assert found.documents_since == minutes_ago(1)
    assert found.services[0].figures.p95 == histogram.quantile({0: 1}, 1)
    assert found.services[0].figures.count == 5  # what SQL adds up is whole


@pytest.mark.parametrize(
    ("changes", "condition"),
    [
        ({}, Condition.UP),
        ({"last_error": "refused", "failures": 3, "warning": "odd"}, Condition.DOWN),
        ({"last_error": "refused", "failures": 2}, Condition.WARNING),
        ({"last_polled_at": minutes_ago(10)}, Condition.LATE),
        ({"last_polled_at": minutes_ago(5)}, Condition.UP),
        ({"warning": "odd"}, Condition.WARNING),
    ],
)
def test_conditions(changes: dict[str, object], condition: Condition) -> None:
    make_service("shop", NOW)
    Instance.objects.update(**changes)
    assert only_row().condition is condition


def test_many_errors_make_a_service_that_answers_failing() -> None:
    instance = make_service("shop", NOW).instances.get()
    add_interval(instance, minutes_ago(0), 60, 100, errors=4)
    assert only_row().condition is Condition.UP
    add_interval(instance, minutes_ago(1), 60, 100, errors=6)
    assert only_row().condition is Condition.FAILING


def test_other_conditions() -> None:
    paused = make_service("paused", NOW, enabled=False, error="refused")
    new = make_service("new", NOW)
    new.instances.update(last_polled_at=None)
    new.registered_at = NOW
    new.save()
    make_service("nowhere", NOW, instances=0)
    found = {row.name: row.condition for row in queries.fleet(WINDOW, NOW).services}
    assert found == {paused.name: Condition.PAUSED, "new": Condition.NEW, "nowhere": Condition.NEW}


def test_the_fleet_tells_that_nothing_is_polled_any_more() -> None:
    make_service("one", NOW)
    make_service("two", NOW)
    assert queries.fleet(WINDOW, NOW).silent_since is None
    Instance.objects.filter(service__name="one").update(last_polled_at=minutes_ago(90))
    assert queries.fleet(WINDOW, NOW).silent_since is None
    Instance.objects.filter(service__name="two").update(last_polled_at=minutes_ago(60))
    assert queries.fleet(WINDOW, NOW).silent_since == minutes_ago(60)


def test_headlines() -> None:
    assert queries.fleet(WINDOW, NOW).services == ()
    make_service("one", NOW)
    assert queries.fleet(WINDOW, NOW).headline == "1 of 1 up"
    make_service("two", NOW)
    assert queries.fleet(WINDOW, NOW).headline == "All 2 up"
    make_service("three", NOW, error="refused")
    assert queries.fleet(WINDOW, NOW).headline == "1 of 3 down"


def test_down_since_is_the_last_answer() -> None:
    make_service("shop", NOW, error="refused")
    assert only_row().down_since == minutes_ago(3)
    assert only_row().error == "refused"
    Instance.objects.update(last_success_at=None)
    assert only_row().down_since is None


def test_a_service_that_is_not_there() -> None:
    assert queries.service(4711, WINDOW, NOW) is None


@pytest.mark.parametrize("services", [1, 100])
def test_the_fleet_takes_seven_queries_however_many_services(services: int, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    for number in range(services):
        instance = make_service(f"service-{number}", NOW, instances=2).instances.all()[0]
        if number % 2:
            add_interval(instance, minutes_ago(0), 60, 1, buckets={0: 1})
        else:
            add_interval(instance, minutes_ago(100), 60, 1, buckets={0: 1})
    with django_assert_num_queries(7):
        queries.fleet(WINDOW, NOW)


@pytest.mark.parametrize("endpoints", [1, 100])
def test_a_service_takes_ten_queries_however_many_endpoints(endpoints: int, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    service = make_service("shop", NOW, instances=3)
    add_interval(service.instances.all()[0], minutes_ago(0), 60, 1)
    for number in range(endpoints):
        endpoint = Endpoint.objects.create(service=service, method="GET", route=f"/{number}")
        add_interval(service.instances.all()[0], minutes_ago(0), 60, 1, endpoint=endpoint)
    with django_assert_num_queries(10):
        queries.service(service.pk, WINDOW, NOW)


def rolled_up(service: Service, ten_minutes: datetime, hour: datetime, day: datetime) -> None:
    stamps = {"ten_minutes": ten_minutes, "hour": hour, "day": day}
    RolledUp.objects.create(service=service, **{name: milliseconds(end) for name, end in stamps.items()})


def test_a_long_window_is_read_from_rollups_and_each_moment_once() -> None:
    """Each hour one request more, so that what is missing or counted twice shows."""
    service = make_service("shop", NOW)
    instance = service.instances.get()
    endpoint = Endpoint.objects.create(service=service, method="GET", route="/a")
    hour, ten_minutes = NOW.replace(hour=11, minute=0, second=0), NOW.replace(hour=11, minute=40, second=0)
    rolled_up(service, ten_minutes, hour, NOW.replace(hour=0, minute=0, second=0))
    for length, resolution, until in (
        (60, Resolution.POLL, NOW),
        (600, Resolution.TEN_MINUTES, ten_minutes),
        (3600, Resolution.HOUR, hour),
    ):
        end = until
        while end > NOW - timedelta(hours=40):  # the finer rows are still there where the coarser ones are
            more = {"duration_sum": 0.5 * length, "buckets": {-30: length}, "status_codes": {200: length}}
            for owner in (None, endpoint):
                add_interval(instance, end, length, length, endpoint=owner, resolution=resolution, **more)
            end -= timedelta(seconds=length)
    for window in (WINDOWS["24h"], WINDOWS["7d"], WINDOWS["1h"]):
        page = queries.service(service.pk, window, NOW)
        assert page is not None
        expected = min(window.length, timedelta(hours=40)).total_seconds()
        assert page.head.figures.rate == 1.0
        assert page.head.figures.count == pytest.approx(expected, abs=3600)
        assert page.head.figures.count % 10 == 0
        (row,) = page.endpoints
        assert row.figures == page.head.figures
        assert row.status_codes == ((200, page.head.figures.count),)
        shown = [point.rate for point in page.head.series if point.rate is not None]
        assert shown == pytest.approx([1.0] * len(shown))


def test_a_service_that_is_behind_with_its_rollups_holds_up_none_of_the_numbers() -> None:
    ready, behind = make_service("ready", NOW), make_service("behind", NOW)
    then = NOW - timedelta(hours=3)
    rolled_up(ready, NOW, NOW, NOW)
    rolled_up(behind, then, then, then)
    for service, until in ((ready, NOW), (behind, then)):
        instance = service.instances.get()
        for number in range(6 * 60):
            add_interval(instance, minutes_ago(number), 60, 60)
            if number % 10 == 0 and minutes_ago(number) <= until:
                add_interval(instance, minutes_ago(number), 600, 600, resolution=Resolution.TEN_MINUTES)
    found = {row.name: row.figures.count for row in queries.fleet(WINDOWS["6h"], NOW).services}
    assert found == {"ready": 6 * 3600, "behind": 6 * 3600}


def test_availability_is_the_share_of_polls_that_were_answered() -> None:
    service = make_service("shop", NOW, instances=2)
    one, other = service.instances.all()
    for instance, failures in ((one, 1), (other, 0)):
        for minute in range(10):
            Availability.objects.create(
                service=service,
                instance_id=instance.pk,
                end=milliseconds(minutes_ago(minute)),
                polls=1,
                failures=int(minute < failures),
                duration_sum=0.1,
                duration_max=0.1,
            )
    page = queries.service(service.pk, WINDOW, NOW)
    assert page is not None
    assert [row.availability for row in page.instances] == [0.9, 1.0]


def test_a_service_that_fell_silent_long_ago_shows_what_is_kept_of_it() -> None:
    instance = make_service("gone", NOW - timedelta(days=30)).instances.get()
    add_interval(instance, NOW - timedelta(days=31), 3600, 7200, resolution=Resolution.HOUR)
    add_interval(instance, NOW - timedelta(days=30), 3600, 3600, resolution=Resolution.HOUR)
    row = only_row()
    assert row.as_of == NOW - timedelta(days=30)
    assert row.figures.rate == 1.0
