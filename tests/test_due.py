"""Which services a round takes, and that no slot of a schedule is served twice."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from monitoring.collector.due import Due, UnknownServiceError, due_services, selected_services
from monitoring.models import Service

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def add(name: str, schedule: str = "* * * * *", registered_at: datetime = NOON - timedelta(days=1), **more: object) -> Service:
    return Service.objects.create(name=name, schedule=schedule, registered_at=registered_at, **more)


def names(now: datetime, **more: object) -> list[str]:
    return [service.name for service in due_services(now, **more).services]  # type: ignore[arg-type]


def test_what_its_schedule_says() -> None:
    add("minutely")
    add("hourly", "@hourly")
    add("at-eleven", "0 11 * * *")
    assert names(NOON + timedelta(seconds=2)) == ["hourly", "minutely"]
    assert names(NOON + timedelta(seconds=62)) == ["minutely"]


def test_a_slot_is_served_once() -> None:
    add("shop")
    assert names(NOON) == ["shop"]
    assert names(NOON + timedelta(seconds=30)) == []
    assert Service.objects.get().last_slot == NOON


def test_of_two_collectors_that_saw_the_same_slot_one_gets_it() -> None:
    add("shop")
    seen_by_both = list(Service.objects.all())
    assert names(NOON, among=seen_by_both) == ["shop"]
    assert names(NOON, among=seen_by_both) == []


def test_a_look_claims_nothing() -> None:
    add("shop")
    assert names(NOON, claim=False) == ["shop"]
    assert names(NOON) == ["shop"]


def test_no_slot_from_before_it_was_registered() -> None:
    add("new", registered_at=NOON + timedelta(seconds=1))
    assert names(NOON + timedelta(seconds=30)) == []
    assert names(NOON + timedelta(seconds=60)) == ["new"]


def test_paused_services_are_never_due_not_even_when_paused_just_now() -> None:
    add("paused", enabled=False)
    add("shop")
    seen = list(Service.objects.all())
    assert names(NOON, claim=False) == ["shop"]
    Service.objects.update(enabled=False)
    assert names(NOON, among=seen) == []


def test_a_schedule_that_cannot_be_read_is_told_and_costs_the_others_nothing() -> None:
    add("broken", "every now and then")
    add("shop")
    due = due_services(NOON)
    assert [service.name for service in due.services] == ["shop"]
    assert list(due.broken) == ["broken"]
    assert "five" in due.broken["broken"]


def test_selecting_by_name() -> None:
    add("billing")
    add("paused", enabled=False)
    add("shop")
    assert [one.name for one in selected_services()] == ["billing", "shop"]
    assert [one.name for one in selected_services(["shop", "paused", "shop"])] == ["paused", "shop"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("Shpo", "Did you mean 'shop'?"), ("SHOP", "Did you mean 'shop'?"), ("xyz", "Registered: billing, shop.")],
)
def test_a_name_that_nobody_has(name: str, message: str) -> None:
    add("billing")
    add("shop")
    with pytest.raises(UnknownServiceError, match=name) as caught:
        selected_services(["billing", name])
    assert message in str(caught.value)


def test_schedules_are_meant_in_the_services_time_zone() -> None:
    add("tokyo", "0 21 * * *", time_zone="Asia/Tokyo")
    add("utc", "0 12 * * *")
    add("berlin", "0 12 * * *", time_zone="Europe/Berlin")
    assert names(NOON) == ["tokyo", "utc"]
    assert names(NOON - timedelta(hours=1), claim=False) == ["berlin"]


def test_a_time_zone_that_is_none_is_told() -> None:
    add("shop", time_zone="Mars/Olympus")
    assert "is not a time zone" in due_services(NOON).broken["shop"]


# Slots that nobody served


def test_slots_that_were_missed_are_told_once_and_not_made_up() -> None:
    add("shop", last_slot=NOON - timedelta(minutes=30))
    due = due_services(NOON)
    assert [one.name for one in due.services] == ["shop"]
    assert due.missed["shop"].count == 29
    assert (due.missed["shop"].first, due.missed["shop"].last) == (NOON - timedelta(minutes=29), NOON - timedelta(minutes=1))
    shop = Service.objects.get()
    assert (shop.missed_slots, shop.last_missed_slot, shop.last_slot) == (29, NOON - timedelta(minutes=1), NOON)
    assert due_services(NOON + timedelta(minutes=1)).missed == {}


def test_a_slot_too_old_to_be_served_is_missed_too_and_the_next_one_is_not() -> None:
    add("hourly", "@hourly", last_slot=NOON - timedelta(hours=1))
    late = NOON + timedelta(minutes=20)
    due = due_services(late)
    assert due.services == []
    assert due.missed["hourly"].count == 1
    assert due_services(late).missed == {}
    assert names(NOON + timedelta(hours=1)) == ["hourly"]
    assert Service.objects.get().missed_slots == 1


def test_of_two_collectors_one_tells_what_was_missed() -> None:
    add("shop", last_slot=NOON - timedelta(minutes=30))
    seen_by_both = list(Service.objects.all())
    assert list(due_services(NOON, among=seen_by_both).missed) == ["shop"]
    assert due_services(NOON, among=seen_by_both) == Due()


def test_slots_before_a_pause_ended_or_the_schedule_changed_were_nobodys() -> None:
    add("shop", last_slot=NOON - timedelta(hours=3), schedule_since=NOON - timedelta(seconds=90))
    due = due_services(NOON)
    assert [one.name for one in due.services] == ["shop"]
    assert due.missed["shop"].count == 1


def test_how_far_a_tick_is_behind() -> None:
    add("hourly", "@hourly")
    add("minutely")
    assert due_services(NOON + timedelta(minutes=2)).oldest_slot == NOON
    assert due_services(NOON + timedelta(minutes=2)).oldest_slot is None


# The clock


def ticks(start: datetime, minutes: int) -> list[int]:
    """The minutes after `start` in which a collector that ticks each minute polls."""
    return [minute for minute in range(minutes) if names(start + timedelta(minutes=minute, seconds=1))]


def test_a_clock_that_is_set_back_an_hour_costs_no_poll_and_the_repeated_hour_is_polled_again() -> None:
    add("shop")
    assert ticks(NOON, 3) == [0, 1, 2]
    assert ticks(NOON - timedelta(hours=1), 63) == list(range(63))
    assert Service.objects.get().missed_slots == 0


def test_a_clock_that_is_set_forward_a_day_and_right_again() -> None:
    add("shop")
    assert ticks(NOON, 2) == [0, 1]
    assert ticks(NOON + timedelta(days=1), 2) == [0, 1]
    assert Service.objects.get().missed_slots == 24 * 60 - 2  # it cannot be told from a day without a collector
    assert ticks(NOON + timedelta(minutes=3), 5) == [0, 1, 2, 3, 4]
    assert Service.objects.get().missed_slots == 24 * 60 - 2


def test_two_hosts_whose_clocks_differ_by_seconds_never_serve_a_slot_twice() -> None:
    add("shop")
    assert names(NOON + timedelta(seconds=1)) == ["shop"]
    for behind in range(1, 300, 7):
        assert names(NOON - timedelta(seconds=behind)) == []


def test_a_service_that_was_registered_before_the_clock_was_set_back_is_polled() -> None:
    add("shop", registered_at=NOON + timedelta(hours=1))
    assert names(NOON) == ["shop"]
