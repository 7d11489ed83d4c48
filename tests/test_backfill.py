"""The history to a sink, whatever happens in between: every request and every poll arrives, and counts once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.utils import timezone

from monitoring.collector import backfill, points, retelling, stretches
from monitoring.collector.backfill import BackfillError, Progress, Window
from monitoring.collector.outcomes import Outcome
from monitoring.collector.sending import DeliveryError, Sender
from monitoring.collector.sinks.base import Failure, Fault
from monitoring.collector.sinks.database import store
from monitoring.models import (
    Availability,
    EndpointInterval,
    Exported,
    Instance,
    OutboxState,
    Resolution,
    Service,
    WaitingPoints,
    milliseconds,
)
from tests.test_points import parse
from tests.test_rollups import FOREVER, Shop, at, keep

pytestmark = pytest.mark.django_db

HOUR = Resolution.HOUR.length
SHORT = {Resolution.POLL: 5 * HOUR, Resolution.TEN_MINUTES: 30 * HOUR, Resolution.HOUR: 60 * HOUR, Resolution.DAY: 9999 * HOUR}
ADDRESS = "http://influxdb:8086 fleet"


class InfluxDB:
    """Keeps points as InfluxDB does: fields by series and moment. It can fail at a request."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, str, int], dict[str, Any]] = {}
        self.fails_after: int | None = None
        self.requests = 0

    def send(self, lines: Sequence[str]) -> Failure | None:
        self.requests += 1
        if self.fails_after is not None and self.requests > self.fails_after:
            return Failure(Fault.SETTING, "The token was revoked.")
        for line in lines:
            measurement, tags, fields, stamp = parse(line)
            self.points.setdefault((measurement, str(sorted(tags.items())), stamp), {}).update(fields)
        return None

    def sums(self) -> dict[str, float]:
        found: Counter[str] = Counter()
        for fields in self.points.values():
            for name, value in fields.items():
                if name in ("polls", "failures") or name.startswith("interval_"):
                    found[name] += value
        return dict(found)


def export(
    influxdb: InfluxDB,
    minutes: float,
    since: float = -60,
    until: float | None = None,
    retention: dict[Resolution, int] = SHORT,
) -> Progress:
    """What the command does at this minute."""
    window = Window(milliseconds(at(since)), milliseconds(at(minutes if until is None else until)), retention)
    return backfill.export(Service.objects.all(), window, ADDRESS, Sender(influxdb), clock=lambda: at(minutes))


def told(shop: Shop, polls: int) -> dict[str, float]:
    """What a full export has to add up to: all that was counted since the baselines, which counted nothing."""
    codes: Counter[int] = Counter()
    seconds = 0.0
    for document in shop.counted:
        for endpoint in document.values():
            codes.update(endpoint.status_codes)
            seconds += endpoint.duration_sum
    return {
        "polls": polls,
        "failures": 0,
        "interval_count": sum(codes.values()),
        "interval_errors": sum(count for code, count in codes.items() if code >= 500),
        "interval_duration": pytest.approx(seconds),
        **{f"interval_{code}": count for code, count in codes.items()},
    }


def day_of(shop: Shop, chance: random.Random, minute: int) -> None:
    for number in range(len(shop.instances)):
        if chance.random() < 0.7:
            route, code = chance.choice(["/a", "/b", "/rare"]), chance.choice([200, 404, 500])
            shop.request(number, route, chance.randint(1, 300), chance.lognormvariate(-4, 2), code)
    shop.poll(minute + 0.013)


@pytest.mark.parametrize("seed", range(4))
def test_everything_arrives_once_however_often_it_is_interrupted_and_repeated(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "ROWS", 40)
    monkeypatch.setattr(backfill, "BATCH_SIZE", 25)
    monkeypatch.setattr(retelling, "CHUNK", 17)
    chance, shop, influxdb = random.Random(seed), Shop(instances=2), InfluxDB()
    shop.poll(0)
    polls, interrupted = 2, 0
    for minute in range(13, 60 * 24 * 5, 13):
        day_of(shop, chance, minute)
        polls += 2
        keep(minute + 1, SHORT)
        if minute > 60 * 24 * 3 and chance.random() < 0.15:
            influxdb.requests, influxdb.fails_after = 0, chance.choice([None, 0, 1, 3, 10, 30])
            try:
                export(influxdb, minute + 1, until=60 * 24 * chance.randint(0, minute // (60 * 24)))
            except DeliveryError:
                interrupted += 1
    assert interrupted
    influxdb.fails_after = None
    assert {Resolution.DAY, Resolution.HOUR, Resolution.TEN_MINUTES, Resolution.POLL} == {
        Resolution(one) for one in EndpointInterval.objects.values_list("resolution", flat=True)
    }
    progress = export(influxdb, minute + 1)
    assert progress.left_out == []
    assert influxdb.sums() == told(shop, polls)
    assert export(influxdb, minute + 1).total == 0


def test_finest_rows_are_taken_and_borders_are_exact() -> None:
    shop, influxdb, chance = Shop(), InfluxDB(), random.Random(1)
    shop.poll(0)
    for minute in range(5, 60 * 24 * 4 + 100, 5):
        day_of(shop, chance, minute)
    keep(minute + 1, SHORT)
    progress = export(influxdb, minute + 1)
    assert sorted(progress.points) == list(Resolution)
    assert progress.sent == progress.total == len(influxdb.points)
    stamps = sorted(stamp for name, _, stamp in influxdb.points if name == points.POLL_MEASUREMENT)
    gaps = Counter(round((later - earlier) / 60_000) for earlier, later in pairwise(stamps))
    assert gaps.keys() >= {5, 10, 60, 60 * 24}
    now = milliseconds(at(minute + 1))
    polls = [stamp for stamp in stamps if stamp > now - SHORT[Resolution.POLL] + stretches.MARGIN + 600_000]
    assert len(polls) == len(range(0, 60 * 4 - 11, 5))


def test_a_new_service_is_told_by_its_polls_from_the_first_on() -> None:
    shop, influxdb = Shop(), InfluxDB()
    for minute in range(3, 60 * 26, 20):
        shop.request(0, "/a", 5, 0.5, 200)
        shop.poll(minute)
    keep(minute + 1)
    progress = export(influxdb, minute + 1, retention=FOREVER)
    assert progress.points.keys() == {Resolution.POLL}
    assert influxdb.sums()["interval_count"] == 5 * 77


def test_a_rollup_is_not_written_over_a_time_for_which_polls_go_there() -> None:
    """`until` lies within an hour of which only the sum is left: that hour is left out, and named."""
    shop, influxdb, chance = Shop(), InfluxDB(), random.Random(2)
    shop.poll(0)
    for minute in range(10, 60 * 24 * 4, 10):
        day_of(shop, chance, minute)
    keep(minute + 1, SHORT)
    hours = 24 * 2 + 7.5
    progress = export(influxdb, minute + 1, until=60 * hours)
    (said,) = progress.left_out
    assert said == "shop, 2026-03-03 07:00 to 2026-03-03 07:30: only rows that reach beyond it are left."
    assert max(stamp for _, _, stamp in influxdb.points) <= milliseconds(at(60 * 24 * 2 + 7 * 60))
    assert influxdb.sums()["polls"] == len(range(0, 60 * (24 * 2 + 7), 10))


def test_polls_right_up_to_the_moment_from_which_they_go_there_themselves() -> None:
    shop, influxdb = Shop(), InfluxDB()
    for minute in range(5):
        shop.request(0, "/a", 10, 0.5, 200)
        shop.poll(minute)
    until = milliseconds(at(3)) - 1
    window = Window(milliseconds(at(1)) - 1, until, FOREVER)
    backfill.export(Service.objects.all(), window, ADDRESS, Sender(influxdb), clock=lambda: at(5))
    stamps = {stamp for _, _, stamp in influxdb.points}
    assert max(stamps) == milliseconds(at(2))
    assert milliseconds(at(1)) in stamps


def test_points_are_those_of_the_polls() -> None:
    """Fields of the interval, of the same name, type and value, at the same moment of the same series."""
    shop = Shop(instances=2)
    live, exported = InfluxDB(), InfluxDB()
    for minute in range(6):
        for number in range(2):
            shop.request(number, "/a b", 7 * minute, 0.31 * (number + 1), 500 if minute % 2 else 200)
            shop.request(number, "/naïve,=\\", 1, 1.0, 404)
        if minute == 4:
            failed = Outcome(shop.instances[0], at(minute), 3.0, None, "refused")
            live.send([line for one in store(shop.service, [failed]) for line in points.lines(one.polled)])
            continue
        outcomes = []
        for number in range(2):
            document = shop.document(number)
            outcomes.append(Outcome(shop.instances[number], at(minute) + timedelta(microseconds=1999), 0.25, document))
        live.send([line for one in store(shop.service, outcomes) for line in points.lines(one.polled)])
    export(exported, 6, since=-60)
    for key, fields in exported.points.items():
        same = {name: value for name, value in live.points[key].items() if name in fields}
        assert fields == same
        assert {name: type(value) for name, value in fields.items()} == {name: type(value) for name, value in same.items()}
    missing = {key: fields for key, fields in live.points.items() if key not in exported.points}
    assert all(not fields.get("interval_count") for fields in missing.values())
    left_out = {name for key, fields in exported.points.items() for name in live.points[key].keys() - fields.keys()}
    assert left_out == {"count", "duration", "200", "404", "500", "error"}


def test_instances_of_one_address_and_rows_of_one_moment_are_added_up() -> None:
    shop, influxdb = Shop(), InfluxDB()
    other = Instance.objects.create(service=shop.service, url="http://shop-0/other")
    for minute in range(3):
        shop.request(0, "/a", 5, 0.5, 200)
        shop.poll(minute)
    for model in (EndpointInterval, Availability):
        for row in model._default_manager.all():
            row.pk, row.instance_id = None, other.pk
            row.save()
            row.pk = None
            row.save()
    export(influxdb, 3, since=-60)
    assert influxdb.sums()["interval_count"] == 3 * 10
    assert influxdb.sums()["polls"] == 9


def test_a_deleted_instance_has_its_number() -> None:
    shop, influxdb = Shop(), InfluxDB()
    for minute in range(2):
        shop.request(0, "/a", 5, 0.5, 200)
        shop.poll(minute)
    pk = shop.instances[0].pk
    shop.instances[0].delete()
    export(influxdb, 2, since=-60)
    assert influxdb.points
    assert all(f"('instance', 'deleted-{pk}')" in tags for _, tags, _ in influxdb.points)


def test_a_row_that_cannot_be_read_costs_itself() -> None:
    shop, influxdb = Shop(), InfluxDB()
    for minute in range(4):
        shop.request(0, "/a", 5, 0.5, 200)
        shop.poll(minute)
    EndpointInterval.objects.filter(end=milliseconds(at(2))).update(buckets=b"\x00broken")
    progress = export(influxdb, 4, since=-60)
    assert progress.unreadable == 1
    assert influxdb.sums()["polls"] == 4


def interrupted(shop: Shop, influxdb: InfluxDB, chance: random.Random) -> int:
    """Three hours of polls, of which an export wrote a part; the minute at which it ended."""
    shop.poll(0)
    for minute in range(5, 180, 5):
        day_of(shop, chance, minute)
    influxdb.fails_after = 3
    with pytest.raises(DeliveryError, match="revoked"):
        export(influxdb, 180)
    influxdb.fails_after = None
    (noted,) = Exported.objects.all()
    assert (noted.until, noted.begun_until) == (milliseconds(at(-10)), milliseconds(at(180)))
    return 180


def test_rows_of_an_interrupted_stretch_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "BATCH_SIZE", 5)
    shop, influxdb, chance = Shop(), InfluxDB(), random.Random(3)
    for minute in range(interrupted(shop, influxdb, chance), 60 * 24 * 2, 5):
        day_of(shop, chance, minute)
    keep(minute + 1, SHORT)
    assert Availability.objects.filter(resolution=Resolution.POLL, end__lte=milliseconds(at(180))).count() == 36
    assert export(influxdb, minute + 1).left_out == []
    assert influxdb.sums() == told(shop, len(range(0, minute + 1, 5)))
    day_of(shop, chance, minute + 20)
    keep(minute + 20, SHORT)
    assert not Availability.objects.filter(resolution=Resolution.POLL, end__lte=milliseconds(at(180))).exists()


def test_but_not_for_ever_and_what_is_in_doubt_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "BATCH_SIZE", 5)
    shop, influxdb, chance = Shop(), InfluxDB(), random.Random(3)
    for minute in range(interrupted(shop, influxdb, chance), 60 * 24 * 8, 30):
        day_of(shop, chance, minute)
    keep(minute + 1, SHORT)
    assert not Availability.objects.filter(resolution=Resolution.POLL, end__lte=milliseconds(at(180))).exists()
    progress = export(influxdb, minute + 1)
    assert progress.left_out[0] == (
        "shop, 2026-02-28 23:50 to 2026-03-01 03:00: an interrupted run wrote a part, and the rows are rolled up since."
    )
    assert export(influxdb, minute + 1).total == 0
    assert influxdb.sums()["interval_count"] < told(shop, 0)["interval_count"]


def test_two_at_once_are_noticed() -> None:
    shop, influxdb = Shop(), InfluxDB()
    for minute in range(3):
        shop.poll(minute)

    def another(progress: Progress) -> None:
        Exported.objects.update(until=1)

    window = Window(0, milliseconds(at(3)), FOREVER)
    with pytest.raises(BackfillError, match="another export_history"):
        backfill.export([shop.service], window, ADDRESS, Sender(influxdb), another, clock=lambda: at(3))


def test_another_address_gets_everything_and_restart_repeats() -> None:
    shop, first, second = Shop(), InfluxDB(), InfluxDB()
    for minute in range(3):
        shop.request(0, "/a", 5, 0.5, 200)
        shop.poll(minute)
    export(first, 3, since=-60)
    window = Window(0, milliseconds(at(3)), FOREVER)
    backfill.export([shop.service], window, "another", Sender(second), clock=lambda: at(3))
    assert second.points == first.points
    backfill.forget("another", [shop.service])
    assert export(first, 3, since=-60).total == 0
    second.points.clear()
    backfill.export([shop.service], window, "another", Sender(second), clock=lambda: at(3))
    assert second.points == first.points


class Target:
    address = ADDRESS


def test_polls_go_there_since() -> None:
    now = timezone.now()
    assert backfill.live_since(Target()) >= milliseconds(now)  # type: ignore[arg-type]
    waiting = milliseconds(now - timedelta(hours=1))
    WaitingPoints.objects.create(created_at=waiting, points=1, size=1, lines=b"")
    assert backfill.live_since(Target()) == waiting  # type: ignore[arg-type]
    OutboxState.objects.create(address="another", since=now - timedelta(days=3))
    assert backfill.live_since(Target()) == waiting  # type: ignore[arg-type]
    OutboxState.objects.update(address=ADDRESS)
    assert backfill.live_since(Target()) == milliseconds(now - timedelta(days=3))  # type: ignore[arg-type]
