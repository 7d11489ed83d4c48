"""Rollups: exact sums whatever comes when, and pruning that takes only what was rolled up."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

import pytest
from django.db import DatabaseError

from monitoring import histogram, packing
from monitoring.collector import rollups
from monitoring.collector.outcomes import Outcome
from monitoring.collector.rollups import keep_up
from monitoring.collector.sinks.database import store
from monitoring.models import (
    Availability,
    EndpointInterval,
    Instance,
    Interval,
    Resolution,
    RolledUp,
    Service,
    milliseconds,
)
from monitoring.wire import EndpointMetrics, MetricsDocument

pytestmark = pytest.mark.django_db

MIDNIGHT = datetime(2026, 3, 1, tzinfo=timezone.utc)
DAY = Resolution.DAY.length
FOREVER = dict.fromkeys(Resolution, 10_000 * DAY)
RETENTION = {Resolution.POLL: 2 * DAY, Resolution.TEN_MINUTES: 14 * DAY, Resolution.HOUR: 90 * DAY, Resolution.DAY: 800 * DAY}


def at(minutes: float) -> datetime:
    return MIDNIGHT + timedelta(minutes=minutes)


def keep(minutes: float, retention: dict[Resolution, int] = FOREVER) -> None:
    assert keep_up(milliseconds(at(minutes)), retention, seconds=600) == {}


class Shop:
    """A service whose instances count as they are told to, and what they were told in all."""

    def __init__(self, instances: int = 1) -> None:
        registered_at = MIDNIGHT - timedelta(days=1)
        self.service = Service.objects.create(name="shop", registered_at=registered_at)
        self.instances = [
            Instance.objects.create(service=self.service, url=f"http://shop-{number}/metrics", registered_at=registered_at)
            for number in range(instances)
        ]
        self.counted = [{"/a": EndpointMetrics("GET", "/a", buckets={})} for _ in self.instances]
        self.bases: dict[int, int] = {}

    def request(self, number: int, route: str, count: int, seconds: float, code: int) -> None:
        one = self.counted[number].setdefault(route, EndpointMetrics("GET", route, buckets={}))
        one.count += count
        one.duration_sum += count * seconds
        one.duration_max = max(one.duration_max or 0.0, seconds)
        one.status_codes[code] = one.status_codes.get(code, 0) + count
        index = histogram.bucket_index(seconds)
        assert one.buckets is not None
        one.buckets[index] = one.buckets.get(index, 0) + count

    def poll(self, minutes: float, *numbers: int) -> None:
        chosen = numbers or range(len(self.instances))
        store(self.service, [Outcome(self.instances[one], at(minutes), 0.25, self.document(one)) for one in chosen])

    def document(self, number: int) -> MetricsDocument:
        return MetricsDocument("shop", {f"GET{route}": one for route, one in self.counted[number].items()}, 1.0 + number)


def sums(resolution: Resolution) -> dict[str, object]:
    """Everything that is kept at one resolution, added up."""
    intervals = list(Interval.objects.filter(resolution=resolution))
    shares = list(EndpointInterval.objects.filter(resolution=resolution).select_related("endpoint"))
    by_route: dict[str, int] = {}
    for row in shares:
        by_route[row.endpoint.route] = by_route.get(row.endpoint.route, 0) + row.count
    polls = list(Availability.objects.filter(resolution=resolution))
    return {
        "count": sum(row.count for row in intervals),
        "errors": sum(row.errors for row in intervals),
        "covered": sum(row.covered for row in intervals),
        "restarts": sum(row.restarts for row in intervals),
        "duration_sum": pytest.approx(sum(row.duration_sum for row in intervals)),
        "duration_max": max(row.duration_max or 0 for row in intervals),
        "buckets": histogram.merge(packing.unpack_buckets(row.buckets) for row in intervals if row.buckets is not None),
        "codes": histogram.merge(packing.unpack_codes(row.status_codes) for row in intervals),
        "by_route": by_route,
        "by_route_buckets": histogram.merge(packing.unpack_buckets(row.buckets) for row in shares),
        "polls": sum(row.polls for row in polls),
        "failures": sum(row.failures for row in polls),
    }


def test_every_resolution_holds_the_same_sums() -> None:
    shop, chance = Shop(instances=3), random.Random(5)
    for minute in range(60 * 24 * 2 + 30):
        for number in range(3):
            if chance.random() < 0.3:
                route, code = chance.choice(["/a", "/b", "/rare"]), chance.choice([200, 404, 500])
                shop.request(number, route, chance.randint(1, 300), chance.lognormvariate(-4, 2), code)
        if minute % 7 == 0 and minute < 60 * 24 * 2:
            shop.poll(minute + 0.01, *chance.sample(range(3), chance.randint(1, 3)))  # others are polled later
            keep(minute + 0.02)
    keep(60 * 24 * 3)
    expected = sums(Resolution.POLL)
    assert expected["count"]
    for resolution in (Resolution.TEN_MINUTES, Resolution.HOUR, Resolution.DAY):
        assert sums(resolution) == expected
    assert Interval.objects.filter(resolution=Resolution.DAY).count() == 2 * 3
    last = Interval.objects.filter(resolution=Resolution.POLL).order_by("-end")[0]
    assert Interval.objects.filter(resolution=Resolution.DAY, instance_id=last.instance_id, end=last.end).exists()


def test_an_endpoint_s_rollup_ends_with_the_interval_it_is_a_part_of() -> None:
    shop = Shop()
    shop.poll(0)
    for minute in range(1, 10):
        if minute < 5:
            shop.request(0, "/a", 1, 0.1, 200)
        shop.poll(minute)
    keep(30)
    interval = Interval.objects.get(resolution=Resolution.TEN_MINUTES)
    assert interval.end == milliseconds(at(9))
    assert EndpointInterval.objects.get(resolution=Resolution.TEN_MINUTES).end == interval.end


def test_what_is_stored_late_is_in_every_rollup_all_the_same() -> None:
    shop = Shop(instances=2)
    shop.poll(0)
    shop.request(0, "/a", 3, 0.1, 200)
    shop.poll(61, 0)
    keep(60 * 24 + 30)
    assert sums(Resolution.DAY)["count"] == 3
    shop.request(1, "/a", 5, 0.2, 500)
    shop.poll(62, 1)  # a day late
    keep(60 * 24 * 2 + 30)
    for resolution in Resolution:
        assert sums(resolution)["count"] == 8
        assert sums(resolution) == sums(Resolution.POLL)


def test_rolled_up_twice_is_rolled_up_once() -> None:
    shop = Shop()
    shop.poll(0)
    shop.request(0, "/a", 3, 0.1, 200)
    shop.poll(5)
    keep(30)
    before = list(Interval.objects.values())
    keep(30)
    assert list(Interval.objects.values()) == before
    assert rollups._roll_up(shop.service.pk, Resolution.TEN_MINUTES, milliseconds(at(10))) == milliseconds(at(20))


def test_a_rollup_waits_until_all_of_it_can_be_there() -> None:
    shop = Shop()
    shop.poll(0)
    shop.poll(9)
    keep(10)
    assert not Interval.objects.filter(resolution=Resolution.TEN_MINUTES).exists()
    keep(10 + 1 + rollups.SPREAD)
    assert Interval.objects.filter(resolution=Resolution.TEN_MINUTES).exists()


def test_each_resolution_is_kept_as_long_as_it_should_be_and_the_sums_stay() -> None:
    shop = Shop()
    shop.poll(0)
    for hour in range(1, 24 * 10):
        shop.request(0, "/a", 1, 0.1, 200)
        shop.poll(60 * hour)
    retention = {Resolution.POLL: DAY, Resolution.TEN_MINUTES: 2 * DAY, Resolution.HOUR: 4 * DAY, Resolution.DAY: 8 * DAY}
    now = 60 * 24 * 10 + 30
    keep(now, retention)
    for model in (Interval, EndpointInterval, Availability):
        for resolution in Resolution:
            oldest = milliseconds(at(now)) - retention[resolution]
            ends = list(model.objects.filter(resolution=resolution).order_by("end").values_list("end", flat=True))
            assert ends[0] > oldest
            width = max(resolution.length, Resolution.HOUR.length)
            assert ends[0] <= oldest + width
            assert len(ends) == (retention[resolution] - 30 * 60_000) // width + (resolution is Resolution.DAY)


def test_nothing_is_pruned_that_is_not_rolled_up() -> None:
    shop = Shop()
    for minute in range(0, 50, 10):
        shop.request(0, "/a", 1, 0.1, 200)
        shop.poll(minute)
    RolledUp.objects.update(ten_minutes=milliseconds(at(20)), hour=milliseconds(at(60 * 24)), day=milliseconds(at(60 * 24)))
    for _ in rollups._steps(RolledUp.objects.get(), milliseconds(at(20)), milliseconds(at(60 * 24 * 99)), RETENTION):
        pass
    assert sums(Resolution.POLL)["count"] == 4


def test_pruning_goes_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    for minute in range(25):
        shop.poll(minute)
    monkeypatch.setattr(rollups, "BATCH", 4)
    short = RETENTION | {Resolution.POLL: 1}
    steps = list(rollups._prune(shop.service.pk, Resolution.POLL, milliseconds(at(99)), milliseconds(at(99))))
    assert len(steps) == 6 + 7
    assert not Interval.objects.exists()
    keep(60, short)


def test_out_of_time_the_next_round_goes_on() -> None:
    shop = Shop()
    for minute in range(0, 60 * 6, 5):
        shop.request(0, "/a", 1, 0.1, 200)
        shop.poll(minute)
    rounds = 0
    while RolledUp.objects.get().ten_minutes < milliseconds(at(60 * 6)):
        assert keep_up(milliseconds(at(60 * 7)), RETENTION, seconds=0) == {}
        rounds += 1
    assert rounds > 20
    keep(60 * 7)
    assert sums(Resolution.TEN_MINUTES) == sums(Resolution.POLL)


def test_a_service_that_cannot_be_rolled_up_is_named_and_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    shop.poll(0)
    shop.poll(5)
    Interval.objects.update(buckets=b"nonsense")
    other = Service.objects.create(name="other", registered_at=MIDNIGHT - timedelta(days=1))
    RolledUp.objects.create(service=other, ten_minutes=0, hour=0, day=0)
    assert keep_up(milliseconds(at(60)), RETENTION).keys() == {"shop"}
    assert RolledUp.objects.get(service=other).ten_minutes > 0
    assert RolledUp.objects.get(service=shop.service).ten_minutes < milliseconds(at(5))


def test_a_rollup_that_fails_halfway_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    shop.poll(0)
    shop.request(0, "/a", 1, 0.1, 200)
    shop.poll(5)

    def broken(*arguments: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(rollups.rows, "add_up_availability", broken)
    assert "disk full" in keep_up(milliseconds(at(60)), RETENTION)["shop"]
    monkeypatch.undo()
    keep(60)
    assert sums(Resolution.TEN_MINUTES) == sums(Resolution.POLL)
