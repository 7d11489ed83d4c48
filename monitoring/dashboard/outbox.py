"""How points get on to InfluxDB, as values and in words: no queries, no HTTP, no markup. The admin says it in the same words."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitoring.dashboard import units
from monitoring.models import OutboxState, Waiting

LATELY = timedelta(days=1)
"""For how long it is a warning that points were dropped or refused."""

UNATTENDED = timedelta(minutes=5)
"""After so long without an attempt to deliver what waits, nobody delivers: collectors try each minute, or note when they will."""


class Delivery(enum.Enum):
    """How delivering goes, the worst first."""

    FAILING = "failing"
    """Points wait, and the last attempt failed."""
    UNATTENDED = "unattended"
    """Points wait, and no collector tries to deliver them."""
    UNSET = "unset"
    """Points wait, and there is no InfluxDB in the settings any more."""
    CATCHING_UP = "catching up"
    """Points wait that have waited for long, and are being delivered."""
    FINE = "fine"
    """Nothing waits but what was polled just now."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """What was refused and is set aside, as far as it was counted."""

    points: int = 0
    more: bool = False
    """There are more than were counted."""
    at: datetime | None = None
    """The last time."""
    words: str = ""
    """The server's, that time."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """What waits, how delivering it goes, and what became of the rest."""

    delivery: Delivery
    waiting: Waiting
    about: bool
    """So much waits that it was not counted to the last point."""
    failing_since: datetime | None
    error: str
    """Why the last attempt failed; empty where it did not."""
    retry_at: datetime | None
    """From when on the next one is made; None where that is the next round."""
    delivered_at: datetime | None
    dropped: int
    """Ever."""
    dropped_at: datetime | None
    rejected: Rejected

    @property
    def bad(self) -> bool:
        """Whether somebody has to do something for these points."""
        return self.delivery in (Delivery.FAILING, Delivery.UNATTENDED)

    def headline(self, now: datetime) -> str:
        """How delivering goes, in one sentence without its full stop."""
        points = f"{'about ' if self.about else ''}{count(self.waiting.points)}"
        waits = f"{points} wait{'s' if self.waiting.points == 1 else ''}"
        since = f"since {_since(self.waiting.since, now)}"
        if self.delivery is Delivery.FAILING:
            return f"InfluxDB takes nothing since {_since(self.failing_since, now)}: {waits}"
        if self.delivery is Delivery.UNATTENDED:
            return f"{_capital(waits)} for InfluxDB {since}, and no collector delivers"
        if self.delivery is Delivery.UNSET:
            return f"{_capital(waits)} for InfluxDB {since}, and the setting INFLUXDB is empty or wrong"
        if self.delivery is Delivery.CATCHING_UP:
            return f"InfluxDB takes points again: {waits} still, the oldest {since}"
        if self.waiting.points:
            return f"InfluxDB: {waits} for the next round"
        if self.delivered_at is None:
            return "InfluxDB: nothing was delivered yet"
        return f"InfluxDB: all delivered, {units.when(self.delivered_at, now)}"

    def next_attempt(self, now: datetime) -> str:
        """When the next attempt is made, as a sentence; to the minute, as collectors tick."""
        if self.retry_at is None or self.retry_at <= now:
            return "Next attempt in the next round."
        up = self.retry_at + timedelta(seconds=59)
        return f"Next attempt {units.when(up, now)}."

    def dropped_lately(self, now: datetime) -> bool:
        return self.dropped_at is not None and now - self.dropped_at <= LATELY

    def rejected_lately(self, now: datetime) -> bool:
        return self.rejected.at is not None and now - self.rejected.at <= LATELY


def row(
    state: OutboxState, waiting: Waiting, rejected: Rejected, configured: bool, now: datetime, about: bool = False
) -> OutboxRow | None:
    """How it stands; None where InfluxDB is not in use. `configured` says whether this process has it in its settings."""
    attempts = [moment for moment in (state.delivered_at, state.retry_at) if moment is not None]
    attended = any(now - moment <= UNATTENDED for moment in attempts)
    if not (configured or waiting.points or attended):
        return None
    waits_long = waiting.since is not None and now - waiting.since > UNATTENDED
    if not waiting.points:
        delivery = Delivery.FINE
    elif not (configured or attended):  # the settings of the collector can differ from those of this process
        delivery = Delivery.UNSET
    elif state.error:
        delivery = Delivery.FAILING
    elif not waits_long:
        delivery = Delivery.FINE
    else:
        delivery = Delivery.CATCHING_UP if attended else Delivery.UNATTENDED
    return OutboxRow(
        delivery=delivery,
        waiting=waiting,
        about=about,
        failing_since=state.failing_since,
        error=state.error,
        retry_at=state.retry_at,
        delivered_at=state.delivered_at,
        dropped=state.dropped,
        dropped_at=state.dropped_at,
        rejected=rejected,
    )


def count(points: int) -> str:
    return "1 point" if points == 1 else f"{points:,} points"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _since(moment: datetime | None, now: datetime) -> str:
    return "?" if moment is None else f"{units.when(moment, now)} ({units.span(now - moment)})"
