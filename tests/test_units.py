from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from django.utils import timezone as django_timezone

from monitoring.dashboard import units

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 µs"),
        (0.0000123, "12.3 µs"),
        (0.000999, "999 µs"),
        (0.0009999, "1 ms"),
        (0.0032, "3.2 ms"),
        (0.9999, "1 s"),
        (12.345, "12.3 s"),
        (119.9, "2 min"),
        (7199, "2 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert units.duration(seconds).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(None, "–"), (0, "0 req/s"), (0.001, "<0.01 req/s"), (0.5, "0.5 req/s"), (99.96, "100 req/s"), (12400.4, "12,400 req/s")],
)
def test_rates(rate: float | None, text: str) -> None:
    assert units.rate(rate).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "–"), (0, "0 %"), (0.00001, "<0.1 %"), (0.004, "0.4 %"), (0.5, "50 %"), (0.99999, ">99.9 %"), (1, "100 %")],
)
def test_shares_are_never_rounded_to_none_or_all(share: float | None, text: str) -> None:
    assert units.percent(share).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "just now"), (-5, "just now"), (12, "12 s ago"), (90, "1 min ago"), (200, "3 min ago"), (300_000, "3 days ago")],
)
def test_ages(seconds: float, text: str) -> None:
    assert units.ago(NOW - timedelta(seconds=seconds), NOW).replace("\xa0", " ") == text


def test_what_never_was() -> None:
    assert units.ago(None, NOW) == "never"


def test_times_have_their_day_where_it_is_not_today() -> None:
    assert units.when(None, NOW) == "–"
    assert units.when(NOW + timedelta(minutes=5), NOW) == "00:05"
    assert units.when(NOW - timedelta(minutes=5), NOW) == "28 Feb 23:55"
    with django_timezone.override("Asia/Tokyo"):
        assert units.when(NOW - timedelta(minutes=5), NOW) == "08:55"
