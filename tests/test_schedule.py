"""Crontab expressions: what is accepted, what is said of the rest, and what is due."""

from datetime import datetime, timedelta, timezone

import pytest

from monitoring import schedule

NOON = datetime(2026, 11, 22, 12, 0, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize("expression", ["* * * * *", "*/5 * * * *", "0 3 * * 1-5", "@hourly", " 0 0 1 JAN *  ", "@Daily"])
def test_a_schedule_is_accepted(expression):
    schedule.validate(expression)
    assert schedule.explain(expression)


@pytest.mark.parametrize(
    ("expression", "part_of_message"),
    [
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields"),
        ("* * * * * *", "has 6 fields"),
        ("61 * * * *", "Bad minute"),
        ("@reboot", "@hourly"),
        ("0 0 31 2 *", "day"),
        ("every minute or so ok", "*/5 * * * *"),
    ],
)
def test_what_is_none_is_refused_with_a_sentence_that_helps(expression, part_of_message):
    with pytest.raises(schedule.ScheduleError) as caught:
        schedule.validate(expression)
    assert part_of_message in str(caught.value)


def test_the_slot_of_this_minute_is_due_until_it_is_served():
    earlier = NOON - timedelta(minutes=10)
    slot = schedule.due_slot("* * * * *", NOON, since=earlier)
    assert slot == NOON.replace(second=0)
    assert schedule.due_slot("* * * * *", NOON, since=slot) is None


def test_a_run_that_starts_late_still_serves_its_slot_but_an_old_one_is_missed():
    since = NOON - timedelta(days=1)
    assert schedule.due_slot("57 * * * *", NOON, since=since) == NOON.replace(hour=11, minute=57, second=0)
    assert schedule.due_slot("30 * * * *", NOON, since=since) is None


def test_a_service_registered_after_a_slot_waits_for_the_next():
    assert schedule.due_slot("0 * * * *", NOON, since=NOON - timedelta(seconds=5)) is None
    assert schedule.next_due("0 * * * *", NOON) == NOON.replace(hour=13, minute=0, second=0)
