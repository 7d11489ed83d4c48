"""What the dashboard's templates need: numbers with units, ages, charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString

from monitoring.dashboard import charts, outbox, units
from monitoring.dashboard.conditions import FAILING_SHARE
from monitoring.dashboard.figures import Point
from monitoring.dashboard.outbox import OutboxRow

register = template.Library()

register.filter("rate", units.rate)
register.filter("duration", units.duration)
register.filter("percent", units.percent)
register.filter("number", units.number)
register.filter("ago", units.ago)
register.filter("when", units.when)
register.filter("points", outbox.count)
register.filter("moment", units.moment)
register.simple_tag(charts.bar, name="bar")


@register.filter
def elevated(share: float | None) -> bool:
    """Whether a share of errors is one to look at."""
    return share is not None and share >= FAILING_SHARE


@register.inclusion_tag("monitoring/_outbox.html")
def outbox_lines(found: OutboxRow, now: datetime, outbox_url: str | None, rejected_url: str | None) -> dict[str, object]:
    """How points get on to InfluxDB: a warning for each thing that is wrong, else a line that all is well."""
    return {
        "outbox": found,
        "bad": found.bad,
        "headline": found.headline(now),
        "next_attempt": found.next_attempt(now),
        "dropped_lately": found.dropped_lately(now),
        "rejected_lately": found.rejected_lately(now),
        "now": now,
        "outbox_url": outbox_url,
        "rejected_url": rejected_url,
    }


@register.filter
def clock(seconds: float) -> str:
    """Of seconds since the epoch, the time of day in the project's time zone."""
    return units.clock(timezone.localtime(units.moment(seconds)))


@register.simple_tag
def request_chart(series: Sequence[Point], window: str) -> SafeString:
    """Requests per second, with the steps' errors."""
    rates = [point.rate for point in series]
    shares = [point.error_rate for point in series]
    failed = sum(1 for share in shares if share)
    said = f"Requests per second, last {window}: {_in_words(rates, units.rate)}"
    return charts.line(rates, f"{said}; errors in {failed} of {len(series)} steps." if failed else f"{said}; no errors.", shares)


@register.simple_tag
def error_chart(series: Sequence[Point], window: str) -> SafeString:
    """The share of errors."""
    shares = [point.error_rate if point.rate else point.rate for point in series]
    return charts.line(shares, f"Share of errors, last {window}: {_in_words(shares, units.percent)}.")


@register.simple_tag
def duration_chart(series: Sequence[Point], window: str) -> SafeString:
    """The average duration."""
    averages = [point.average for point in series]
    return charts.line(averages, f"Average duration, last {window}: {_in_words(averages, units.duration)}.")


@register.simple_tag
def highest(series: Sequence[Point], name: str) -> float | None:
    """The highest value of a series: what the top of its chart stands for."""
    return max((value for value in (getattr(point, name) for point in series) if value is not None), default=None)


@register.simple_tag
def status_bar(status_codes: Sequence[tuple[int, int]]) -> SafeString:
    """Answers by class of status code (2xx to 5xx) as one bar."""
    classes: Counter[str] = Counter()
    for code, count in status_codes:
        classes[f"s{code // 100}"] += count
    said = ", ".join(f"{name[1:]}xx {count:,}" for name, count in sorted(classes.items()))
    return charts.share_bar(dict(sorted(classes.items())), f"Answers: {said}")


def _in_words(values: Sequence[float | None], unit: units.Unit) -> str:
    known = [value for value in values if value is not None]
    return f"{unit(min(known))} to {unit(max(known))}, latest {unit(known[-1])}" if known else "nothing known"
