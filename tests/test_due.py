"""Which services a round takes, and that no slot of a schedule is served twice."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from monitoring.collector.due import UnknownServiceError, due_services, selected_services
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
