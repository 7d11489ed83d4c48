"""Crontab expressions: validate, explain, and tell which slot is due.

Evaluated with cronsim, which follows Debian's cron for day-of-month/day-of-week and for daylight saving time. Five fields
only (cronsim would read a sixth as seconds), and the usual names: @hourly, @daily, @midnight, @weekly, @monthly, @yearly,
@annually.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cronsim import CronSim, CronSimError

DEFAULT = "* * * * *"

LATENESS = timedelta(minutes=5)
"""How late a run may start and still serve its slot. A slot older than this was missed, and is not made up."""

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


def next_due(expression: str, after: datetime) -> datetime:
    """The first slot after an aware moment, in that moment's time zone. Raises ScheduleError."""
    validate(expression)
    return next(CronSim(_five_fields(expression), after))


def due_slot(expression: str, now: datetime, since: datetime) -> datetime | None:
    """The latest slot after `since` and up to `now` (both aware), unless it is older than LATENESS. Raises ScheduleError."""
    start = max(since, now - LATENESS)
    slot: datetime | None = None
    candidate = next_due(expression, start.astimezone(now.tzinfo))
    while candidate <= now:
        slot = candidate
        candidate = next_due(expression, candidate)
    return slot


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
