"""The stretch of time a page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from monitoring.models import Resolution, milliseconds


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a window, and the rows that tell it: those that end after the one and not after the other (milliseconds)."""

    resolution: Resolution
    after: int
    until: int | None
    """None: up to now, and what a clock that is ahead has stored."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time that ends now, and the steps in which charts show it."""

    key: str
    label: str
    length: timedelta
    step: timedelta
    resolution: Resolution = Resolution.POLL
    """The coarsest rows of the history that it is added up from; a step is a multiple of it."""

    def edges(self, now: datetime) -> list[datetime]:
        """The boundaries of the steps, ascending. They lie on multiples of the step, so that a chart does not shimmer."""
        step = self.step.total_seconds()
        first = (now - self.length).timestamp() // step * step
        count = int((now.timestamp() - first) // step) + 1
        return [datetime.fromtimestamp(first + step * index, timezone.utc) for index in range(count + 1)]

    def parts(self, now: datetime, rolled_up: Mapping[Resolution, int]) -> list[Part]:
        """The window from its beginning to now: as far as its resolution is rolled up, from there the finer one, and so on."""
        after = milliseconds(now - self.length)
        found = []
        resolution = self.resolution
        while resolution is not Resolution.POLL:
            if rolled_up[resolution] > after:
                found.append(Part(resolution, after, rolled_up[resolution]))
                after = rolled_up[resolution]
            resolution = resolution.finer
        return [*found, Part(resolution, after, None)]


WINDOWS: dict[str, Window] = {
    window.key: window
    for window in (
        Window("15m", "15 minutes", timedelta(minutes=15), timedelta(seconds=30)),
        Window("1h", "1 hour", timedelta(hours=1), timedelta(minutes=2)),
        Window("6h", "6 hours", timedelta(hours=6), timedelta(minutes=10), Resolution.TEN_MINUTES),
        Window("24h", "24 hours", timedelta(hours=24), timedelta(minutes=30), Resolution.TEN_MINUTES),
        Window("7d", "7 days", timedelta(days=7), timedelta(hours=4), Resolution.HOUR),
        Window("30d", "30 days", timedelta(days=30), timedelta(days=1), Resolution.DAY),
        Window("90d", "90 days", timedelta(days=90), timedelta(days=2), Resolution.DAY),
        Window("1y", "1 year", timedelta(days=365), timedelta(days=7), Resolution.DAY),
    )
}
DEFAULT = WINDOWS["15m"]
