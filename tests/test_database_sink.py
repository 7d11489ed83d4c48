"""What polls leave in the database, and what they leave alone when something goes wrong."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from django.db import DatabaseError
from pytest_django.fixtures import DjangoAssertNumQueries

from monitoring import packing
from monitoring.collector import baselines
from monitoring.collector.outcomes import Outcome
from monitoring.collector.sinks import database
from monitoring.collector.sinks.database import Stored, store
from monitoring.models import (
    Availability,
    Baseline,
    Endpoint,
    EndpointInterval,
    Instance,
    Interval,
    RolledUp,
    Service,
    moment,
)
from monitoring.wire import EndpointMetrics, MetricsDocument

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
LONG_AGO = NOON - timedelta(days=9)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


@pytest.fixture
def service() -> Service:
    return Service.objects.create(name="shop", registered_at=LONG_AGO)


@pytest.fixture
def instance(service: Service) -> Instance:
    return add_instance(service, 1)


def add_instance(service: Service, number: int) -> Instance:
    return Instance.objects.create(service=service, url=f"http://shop-{number}:8000/metrics", registered_at=LONG_AGO)


def document(counts: dict[str, int], started_at: float | None = 1.0) -> MetricsDocument:
    endpoints = [
        EndpointMetrics("GET", route, count, count * 0.5, 0.5, status_codes={200: count - 1, 500: 1}, buckets={-4: count})
        for route, count in counts.items()
    ]
    return MetricsDocument("shop", {one.key: one for one in endpoints}, started_at)


def poll(instance: Instance, minutes: float, counts: dict[str, int] | None = None) -> list[Stored]:
    """Store one poll; without counts a failed one."""
    found = Outcome(instance, at(minutes), 0.1, None if counts is None else document(counts), "" if counts else "refused")
    return store(instance.service, [found])


def totals() -> list[int]:
    return list(Interval.objects.order_by("pk").values_list("count", flat=True))


def shares() -> list[tuple[str, int]]:
    return list(EndpointInterval.objects.order_by("pk").values_list("endpoint__route", "count"))


def spans() -> list[tuple[datetime, datetime]]:
    return [(moment(row.end - row.covered), moment(row.end)) for row in Interval.objects.order_by("pk")]


def test_the_first_poll_is_the_baseline(instance: Instance) -> None:
    stored = poll(instance, 0, {"/a": 10})
    assert stored[0].polled.interval is None
    assert (totals(), shares()) == ([], [])
    assert baselines.load(Baseline.objects.get().document).endpoints == document({"/a": 10}).endpoints
    instance.refresh_from_db()
    assert (instance.last_polled_at, instance.last_success_at, instance.last_error) == (NOON, NOON, "")
    assert instance.poll_duration == 0.1


def test_an_interval_is_a_total_and_a_row_for_each_endpoint_that_changed(instance: Instance) -> None:
    poll(instance, 0, {"/a": 10, "/idle": 3})
    stored = poll(instance, 1, {"/a": 14, "/idle": 3, "/b": 2})
    assert (totals(), shares()) == ([6], [("/a", 4), ("/b", 2)])
    assert stored[0].polled.interval is not None
    assert stored[0].polled.instance == "shop-1:8000"
    total = Interval.objects.get()
    assert spans() == [(at(0), at(1))]
    assert (total.instance_id, total.resolution, total.restarts, total.errors, total.duration_sum) == (instance.pk, 0, 0, 1, 3.0)
    assert packing.unpack_codes(total.status_codes) == {200: 5, 500: 1}
    assert packing.unpack_buckets(total.buckets) == {-4: 6}
    assert set(EndpointInterval.objects.values_list("instance_id", "end")) == {(instance.pk, total.end)}
    assert Baseline.objects.get().polled_at == at(1)


def test_nothing_happened_leaves_a_total_that_tells_what_time_was_covered(instance: Instance) -> None:
    poll(instance, 0, {"/a": 10})
    poll(instance, 1, {"/a": 10})
    assert (totals(), shares(), spans()) == ([0], [], [(at(0), at(1))])


def test_a_failed_poll_touches_the_instance_alone_and_loses_no_count(instance: Instance) -> None:
    poll(instance, 0, {"/a": 10})
    poll(instance, 1)
    poll(instance, 2)
    instance.refresh_from_db()
    assert (instance.last_error, instance.failures) == ("refused", 2)
    assert (instance.last_polled_at, instance.last_success_at) == (at(2), at(0))
    assert totals() == []
    poll(instance, 3, {"/a": 15})
    instance.refresh_from_db()
    assert (instance.last_error, instance.failures) == ("", 0)
    assert (totals(), shares(), spans()) == ([5], [("/a", 5)], [(at(0), at(3))])
    assert list(Availability.objects.order_by("end").values_list("polls", "failures")) == [(1, 0), (1, 1), (1, 1), (1, 0)]


def test_a_restart(instance: Instance) -> None:
    poll(instance, 0, {"/a": 10})
    restarted = document({"/a": 3}, started_at=at(0.5).timestamp())
    store(instance.service, [Outcome(instance, at(1), 0.1, restarted)])
    assert (totals(), shares(), spans()) == ([3], [("/a", 3)], [(at(0.5), at(1))])
    assert Interval.objects.get().restarts == 1


def test_counts_that_fall_without_a_restart_are_odd_and_said_so(instance: Instance) -> None:
    poll(instance, 0, {"/a": 10, "/b": 10})
    stored = poll(instance, 1, {"/a": 3, "/b": 11})
    assert (totals(), shares()) == ([4], [("/a", 3), ("/b", 1)])
    assert "counts fell" in stored[0].warning
    instance.refresh_from_db()
    assert "GET/a" in instance.warning
    poll(instance, 2, {"/a": 3, "/b": 11})
    instance.refresh_from_db()
    assert instance.warning == ""


def test_of_two_overlapping_polls_the_earlier_one_that_comes_later_changes_nothing(instance: Instance) -> None:
    poll(instance, 0, {"/a": 10})
    poll(instance, 2, {"/a": 30})
    before = list(Instance.objects.values())
    stored = poll(instance, 1, {"/a": 20})
    assert stored[0].polled.interval is None
    assert "overlaps a poll that is stored" in stored[0].warning
    assert list(Instance.objects.values()) == before
    assert (totals(), shares()) == ([20], [("/a", 20)])
    poll(instance, 3, {"/a": 31})
    assert (totals(), shares()) == ([20, 1], [("/a", 20), ("/a", 1)])


def test_of_two_polls_at_once_the_one_that_is_stored_last_is_left_out(instance: Instance) -> None:
    """Its document may be the older one, although it was asked for later: that would look like counts that fell."""
    poll(instance, 0, {"/a": 30})
    store(instance.service, [Outcome(instance, at(0.0001), 0.1, document({"/a": 29}))])
    poll(instance, 1, {"/a": 31})
    assert (totals(), shares()) == ([1], [("/a", 1)])


def test_a_failure_that_overlaps_a_later_success_does_not_make_it_down(instance: Instance) -> None:
    poll(instance, 2, {"/a": 30})
    poll(instance, 1)
    instance.refresh_from_db()
    assert (instance.last_error, instance.failures) == ("", 0)


def test_a_baseline_that_cannot_be_read_begins_anew_and_counts_nothing_twice(instance: Instance) -> None:
    instance.registered_at = datetime(1969, 1, 1, tzinfo=timezone.utc)  # it started after that, so its past would be known
    instance.save()
    Baseline.objects.create(instance=instance, polled_at=at(-1), document="{")
    stored = poll(instance, 0, {"/a": 10})
    assert "could not be read" in stored[0].warning
    assert totals() == []
    poll(instance, 1, {"/a": 11})
    assert (totals(), shares()) == ([1], [("/a", 1)])


def test_instances_of_one_service_share_its_endpoints(service: Service) -> None:
    one, two = add_instance(service, 1), add_instance(service, 2)
    for minutes, count in ((0, 10), (1, 12)):
        started = ((one, 1.0), (two, 2.0))
        store(service, [Outcome(each, at(minutes), 0.1, document({"/a": count}, start)) for each, start in started])
    assert Endpoint.objects.count() == 1
    assert totals() == [2, 2]
    assert set(Interval.objects.values_list("instance_id", flat=True)) == {one.pk, two.pk}


def test_deleted_or_readdressed_while_it_was_polled(service: Service) -> None:
    gone, moved = add_instance(service, 1), add_instance(service, 2)
    outcomes = [Outcome(each, NOON, 0.1, document({"/a": 1})) for each in (gone, moved)]
    Instance.objects.filter(pk=gone.pk).delete()
    Instance.objects.filter(pk=moved.pk).update(url="http://elsewhere/metrics")
    assert store(service, outcomes) == []
    assert not Baseline.objects.exists()
    Service.objects.all().delete()
    assert store(service, outcomes) == []


_KEPT = (Instance, Baseline, Endpoint, Interval, EndpointInterval, Availability, RolledUp)


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_stored_leaves_the_service_as_it_was(service: Service) -> None:
    good, bad = add_instance(service, 1), add_instance(service, 2)
    started = {good: 1.0, bad: 2.0}
    store(service, [Outcome(each, at(0), 0.1, document({"/a": 10}, start)) for each, start in started.items()])
    before = [list(model.objects.values()) for model in _KEPT]
    huge = document({"/a": 2**63 - 1, "/new": 2**63 - 1}, started[bad])  # each can be stored, their total cannot
    with pytest.raises((DatabaseError, OverflowError)):
        store(service, [Outcome(good, at(1), 0.1, document({"/a": 11})), Outcome(bad, at(1), 0.1, huge)])
    assert [list(model.objects.values()) for model in _KEPT] == before


def test_the_number_of_queries_does_not_grow_with_the_endpoints(
    instance: Instance, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    poll(instance, 0, {"/a": 10})
    with django_assert_max_num_queries(30):  # SQLite takes the rows in several statements
        poll(instance, 1, {f"/{number}": 2 for number in range(1000)})
    assert Endpoint.objects.count() == 1001
    with django_assert_max_num_queries(30):
        poll(instance, 2, {f"/{number}": 4 for number in range(1000)})
    assert Interval.objects.count() == 2


def test_the_name_of_the_registry_wins(instance: Instance) -> None:
    other = document({"/a": 1})
    other.service_name = "other"
    polled = database.polled_instance(instance.service, Outcome(instance, NOON, 0.1, other))
    assert polled.service == "shop"


def test_what_a_deleted_instance_did_stays(service: Service) -> None:
    one, two = add_instance(service, 1), add_instance(service, 2)
    for each in (one, two):
        poll(each, 0, {"/a": 10})
        poll(each, 1, {"/a": 12})
    one.delete()
    replaced = add_instance(service, 1)
    assert replaced.pk not in (one.pk, two.pk)
    assert (totals(), shares()) == ([2, 2], [("/a", 2), ("/a", 2)])
    service.delete()
    assert not any(model.objects.exists() for model in _KEPT)


def poll_both(one: Instance, other: Instance, minutes: float, count: int, failing: Instance | None = None) -> list[Stored]:
    outcomes = [
        Outcome(
            instance,
            at(minutes),
            0.1,
            None if instance is failing else document({"/a": count}),
            "refused" * (instance is failing),
        )
        for instance in (one, other)
    ]
    return store(one.service, outcomes)


def test_two_servers_that_share_their_counters_count_once_and_are_told_of(service: Service) -> None:
    one, other = add_instance(service, 1), add_instance(service, 2)
    poll_both(one, other, 0, 10)
    stored = poll_both(one, other, 1, 15)
    assert totals() == [5]
    assert ["share a folder" in each.warning for each in stored] == [False, True]
    poll_both(one, other, 2, 18, failing=one)
    poll_both(one, other, 3, 20)
    poll_both(one, other, 4, 24)
    assert totals() == [5, 3, 2, 4]


def test_a_process_started_just_before_its_poll_has_no_absurd_rate(instance: Instance) -> None:
    poll(instance, 0, {"/a": 10})
    started_at = (at(1) - timedelta(milliseconds=1)).timestamp()
    store(instance.service, [Outcome(instance, at(1), 0.1, document({"/a": 600}, started_at), "")])
    (row,) = Interval.objects.all()
    assert (row.count, row.covered) == (600, 1000)
