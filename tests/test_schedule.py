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


# Time zones and summer time

BERLIN = schedule.zone("Europe/Berlin")


def berlin(*parts, fold=0):
    return datetime(*parts, fold=fold, tzinfo=BERLIN)


def due_minutes(expression, start, minutes):
    """The minutes, as clocks in Berlin show them, in which a collector that ticks each minute finds something to do."""
    served, found = start, []
    for minute in range(minutes):
        now = (start.astimezone(timezone.utc) + timedelta(minutes=minute, seconds=5)).astimezone(BERLIN)
        slot = schedule.due_slot(expression, now, since=served)
        if slot is not None:
            served = slot
            found.append(f"{now:%H:%M%z}")
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["03:00+0200"]),  # the hour of it does not exist: Debian's cron runs it right after
        ("0 3 * * *", ["03:00+0200"]),
        ("*/30 * * * *", ["01:30+0100", "03:00+0200", "03:30+0200", "04:00+0200"]),
        ("@hourly", ["03:00+0200", "04:00+0200"]),
    ],
)
def test_when_clocks_go_forward(expression, expected):
    assert due_minutes(expression, berlin(2026, 3, 29, 1, 15), 110) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["02:30+0200"]),  # its hour is there twice: Debian's cron runs it once
        ("0 3 * * *", ["03:00+0100"]),
        ("*/30 * * * *", ["01:30+0200", "02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100", "03:00+0100"]),
        ("0 * * * *", ["02:00+0200", "02:00+0100", "03:00+0100"]),
    ],
)
def test_when_clocks_go_back(expression, expected):
    assert due_minutes(expression, berlin(2026, 10, 25, 1, 15), 180) == expected


def test_next_due_lies_ahead_in_the_hour_that_is_there_twice():
    for fold, minute in ((0, 45), (1, 15), (1, 45)):
        assert schedule.next_due("30 2 * * *", berlin(2026, 10, 25, 2, minute, fold=fold)) == berlin(2026, 10, 26, 2, 30)


def test_a_late_run_serves_its_slot_across_the_change():
    slot = schedule.due_slot("30 2 * * *", berlin(2026, 3, 29, 3, 4), since=berlin(2026, 3, 28, 2, 30))
    assert slot == berlin(2026, 3, 29, 3, 0)


def test_slots_that_were_missed_are_counted():
    missed = schedule.missed_slots("*/10 * * * *", NOON - timedelta(hours=1), NOON)
    assert missed == schedule.Missed(6, NOON.replace(hour=11, minute=10, second=0), NOON.replace(second=0))
    slot = NOON.replace(second=0)
    assert schedule.missed_slots("*/10 * * * *", slot - timedelta(minutes=10), slot) is None  # both ends are served
    assert schedule.missed_slots("* * * * *", NOON - timedelta(days=30), NOON).count == schedule.MOST_MISSED


@pytest.mark.parametrize(
    ("name", "part_of_message"), [("Europe/Brelin", "Did you mean Europe/Berlin?"), ("/etc/passwd", "is not"), ("", "is not")]
)
def test_a_time_zone_that_is_none(name, part_of_message):
    with pytest.raises(schedule.ScheduleError, match="time zone") as caught:
        schedule.zone(name)
    assert part_of_message in str(caught.value)
