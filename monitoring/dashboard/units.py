"""Numbers as people read them: three digits that matter, and the unit; ages and times. Pure.

What is not known is a dash. A share is never rounded to "none" or to "all" where it is neither.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from django.utils import formats
from django.utils.timezone import localtime

Unit = Callable[[float | None], str]

UNKNOWN = "–"
_SPACE = "\u00a0"  # a number and its unit stay on one line


def number(value: float) -> str:
    """Three significant digits, at most two decimals, thousands separated: 0.02, 3.2, 41.5, 412, 12,400."""
    if value >= 99.95:
        digits = 0
    elif value >= 9.995:
        digits = 1
    else:
        digits = 2
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rate(per_second: float | None) -> str:
    """Requests per second."""
    if per_second is None:
        return UNKNOWN
    text = "<0.01" if 0 < per_second < 0.005 else number(per_second)
    return f"{text}{_SPACE}req/s"


def duration(seconds: float | None) -> str:
    """µs, ms, s, min or h, whichever gives a number that can be read."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.0009995:
        return f"{number(seconds * 1e6)}{_SPACE}µs"
    if seconds < 0.9995:
        return f"{number(seconds * 1e3)}{_SPACE}ms"
    if seconds < 119.5:
        return f"{number(seconds)}{_SPACE}s"
    if seconds < 7170:
        return f"{number(seconds / 60)}{_SPACE}min"
    return f"{number(seconds / 3600)}{_SPACE}h"


def percent(share: float | None) -> str:
    """A share of 0 to 1."""
    if share is None:
        return UNKNOWN
    value = share * 100
    if 0 < value < 0.1:
        text = "<0.1"
    elif 99.9 < value < 100:
        text = ">99.9"
    else:
        text = f"{value:.1f}".removesuffix(".0")
    return f"{text}{_SPACE}%"


def span(length: timedelta) -> str:
    """A length of time in its largest unit: 12 s, 5 min, 3 h, 8 days."""
    seconds = max(0, int(length.total_seconds()))
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and unit != "days"):
            return f"{seconds // size}{_SPACE}{unit}"
    return f"{seconds}{_SPACE}s"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago something was; "never" for None."""
    if moment is None:
        return "never"
    return "just now" if now - moment < timedelta(seconds=2) else f"{span(now - moment)} ago"


def moment(seconds: float | None) -> datetime | None:
    """Seconds since the epoch, in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def clock(at: datetime) -> str:
    """The time of day, to the millisecond where it is known that well: stamps of whole seconds stay such."""
    text = at.strftime("%H:%M:%S")
    return f"{text}.{at.microsecond // 1000:03}" if at.microsecond else text


def when(moment: datetime | None, now: datetime) -> str:
    """When something was, to the minute, in the current time zone; with the day where that is not today's."""
    if moment is None:
        return UNKNOWN
    local = localtime(moment)
    return formats.date_format(local, "H:i" if local.date() == localtime(now).date() else "j M H:i")
