"""Crontab expressions: validate, explain, and tell which slot is due.

Evaluated with cronsim, which follows Debian's cron for day-of-month/day-of-week and for daylight saving time. Five fields
only (cronsim would read a sixth as seconds), and the usual names: @hourly, @daily, @midnight, @weekly, @monthly, @yearly,
@annually.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

DEFAULT = "* * * * *"

LATENESS = timedelta(minutes=5)
"""How late a run may start and still serve its slot. A slot older than this was missed, and is not made up."""

MOST_MISSED = 10_000
"""How many missed slots are counted one by one."""

_NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_EPOCH = datetime(2024, 1, 1)


class ScheduleError(ValueError):
    """The expression is not a crontab schedule; the message says why and shows one that is."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Slots that nobody served; the moments in UTC."""

    count: int
    first: datetime
    last: datetime


@lru_cache(maxsize=1024)
def validate(expression: str) -> None:
    """Raises ScheduleError unless the expression is a five-field crontab schedule that has a next run."""
    try:
        next(CronSim(_five_fields(expression), _EPOCH))
    except CronSimError as error:
        raise ScheduleError(f"“{expression}” is not a crontab schedule: {error}. {_EXAMPLE}") from None
    except StopIteration:
        raise ScheduleError(f"“{expression}” names a date that never comes. {_EXAMPLE}") from None


def explain(expression: str) -> str:
    """The schedule in English words ("Every minute"). Raises ScheduleError."""
    validate(expression)
    return str(CronSim(_five_fields(expression), _EPOCH).explain())


def zone(name: str) -> ZoneInfo:
    """The time zone of this name in the IANA database. Raises ScheduleError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, a path, a folder of the database
        close = difflib.get_close_matches(name, available_timezones(), n=1)
        hint = f"Did you mean {close[0]}?" if close else "Write it as in Europe/Berlin."
        raise ScheduleError(f"“{name}” is not a time zone. {hint}") from None


def slots(expression: str, after: datetime) -> Iterator[datetime]:
    """The slots after an aware moment, in that moment's time zone, in the order of time. Raises ScheduleError."""
    validate(expression)
    return _slots(expression, after)


def next_due(expression: str, after: datetime) -> datetime:
    """The first of them. Raises ScheduleError."""
    return _next_slot(expression, after.tzinfo, _minute(after))


def due_slot(expression: str, now: datetime, since: datetime) -> datetime | None:
    """The latest slot after `since` and up to `now` (both aware), unless it is older than LATENESS. Raises ScheduleError."""
    slot = _latest_slot(expression, now.tzinfo, _minute(now))
    return slot if slot is not None and slot > since else None


def missed_slots(expression: str, since: datetime, until: datetime) -> Missed | None:
    """The slots between two aware moments (both excluded), in the time zone of `until`. Raises ScheduleError."""
    return _missed_slots(expression, until.tzinfo, _minute(since), _utc(until))


# Slots are whole minutes, and most services of a fleet have the same schedule: they ask the same of it in the same minute.


@lru_cache(maxsize=1024)
def _next_slot(expression: str, tzinfo: tzinfo | None, minute: datetime) -> datetime:
    return next(slots(expression, minute.astimezone(tzinfo)))


@lru_cache(maxsize=1024)
def _latest_slot(expression: str, tzinfo: tzinfo | None, minute: datetime) -> datetime | None:
    latest: datetime | None = None
    for slot in slots(expression, (minute - LATENESS).astimezone(tzinfo)):
        if _utc(slot) > minute:
            break
        latest = _utc(slot)
    return latest


@lru_cache(maxsize=1024)
def _missed_slots(expression: str, tzinfo: tzinfo | None, since: datetime, until: datetime) -> Missed | None:
    missed: Missed | None = None
    for slot in slots(expression, since.astimezone(tzinfo)):
        moment = _utc(slot)
        if moment >= until or (missed is not None and missed.count >= MOST_MISSED):
            break
        missed = Missed(1, moment, moment) if missed is None else Missed(missed.count + 1, missed.first, moment)
    return missed


def _slots(expression: str, after: datetime) -> Iterator[datetime]:
    """In the hour that clocks repeat in autumn, cronsim's first slots may lie before `after`.

    Comparing is done in UTC: datetimes of the same zone compare by what the clock shows.
    """
    found = CronSim(_five_fields(expression), after)
    return itertools.dropwhile(lambda slot: _utc(slot) <= _utc(after), found)


def _minute(moment: datetime) -> datetime:
    return _utc(moment).replace(second=0, microsecond=0)


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc)


_EXAMPLE = 'Five fields are expected, such as "*/5 * * * *" for every five minutes; @hourly, @daily and the like work too.'


def _five_fields(expression: str) -> str:
    text = expression.strip()
    if text.startswith("@"):
        if text.lower() not in _NAMES:
            raise ScheduleError(f"“{expression}” is not a known name: use one of {', '.join(sorted(_NAMES))}.")
        return _NAMES[text.lower()]
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ScheduleError(
            f"“{expression}” has {len(fields)} field{'' if len(fields) == 1 else 's'}, but a crontab schedule has five"
            f" ({', '.join(_FIELDS)}). {_EXAMPLE}"
        )
    return " ".join(fields)
