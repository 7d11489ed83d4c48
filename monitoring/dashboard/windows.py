"""The stretch of time a page shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time that ends now, and the steps in which charts show it."""

    key: str
    label: str
    length: timedelta
    step: timedelta

    def edges(self, now: datetime) -> list[datetime]:
        """The boundaries of the steps, ascending. They lie on multiples of the step, so that a chart does not shimmer."""
        step = self.step.total_seconds()
        first = (now - self.length).timestamp() // step * step
        count = int((now.timestamp() - first) // step) + 1
        return [datetime.fromtimestamp(first + step * index, timezone.utc) for index in range(count + 1)]


WINDOWS: dict[str, Window] = {
    window.key: window
    for window in (
        Window("15m", "15 minutes", timedelta(minutes=15), timedelta(seconds=30)),
        Window("1h", "1 hour", timedelta(hours=1), timedelta(minutes=2)),
        Window("6h", "6 hours", timedelta(hours=6), timedelta(minutes=12)),
        Window("24h", "24 hours", timedelta(hours=24), timedelta(minutes=48)),
    )
}
DEFAULT = WINDOWS["15m"]
