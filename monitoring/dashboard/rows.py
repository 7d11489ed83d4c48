"""What the pages show, as values: no queries, no HTTP, no markup."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from monitoring.dashboard.conditions import Condition
from monitoring.dashboard.figures import Figures, Point

_TROUBLES = (
    (Condition.DOWN, "down"),
    (Condition.LATE, "not polled when due"),
    (Condition.FAILING, "failing"),
)


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A service as a line of the fleet, and as the head of its own page."""

    pk: int
    name: str
    schedule: str
    condition: Condition
    since: datetime | None
    """Since when the service is in its state; where it is a refinement, such as failing, in the state behind it."""
    last_polled_at: datetime | None
    down_since: datetime | None
    """When an instance that fails now answered last; None where none fails, or one never answered."""
    error: str
    warning: str
    figures: Figures
    series: tuple[Point, ...]
    as_of: datetime | None
    """Set where the window holds no interval and the latest one is shown: its end."""


@dataclass(frozen=True, slots=True)
class CollectorRow:
    """The collector that ticked last, and whether any is alive."""

    host: str
    mode: str
    alive: bool
    ticked_at: datetime
    duration: float | None
    behind: float
    error: str
    others: int
    """How many more there are, or were."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """All services and their sum, unsorted."""

    services: tuple[ServiceRow, ...]
    figures: Figures
    series: tuple[Point, ...]
    silent_since: datetime | None
    """The last poll of all, where every service that should have been polled since was not: the collector does not run."""
    documents_since: datetime | None
    """Set where the window has more intervals than MAX_DOCUMENTS: quantiles are of those since then."""
    collector: CollectorRow | None
    """None where none ever ticked."""

    @property
    def conditions(self) -> dict[Condition, int]:
        """How many services are in each condition that occurs, the worst first."""
        found = Counter(row.condition for row in self.services)
        return {condition: found[condition] for condition in Condition if found[condition]}

    @property
    def headline(self) -> str:
        """How the fleet is, in a few words: the worst that there is."""
        found, total = self.conditions, len(self.services)
        for condition, words in _TROUBLES:
            if condition in found:
                return f"{found[condition]} of {total} {words}"
        if not self.polled:
            return "Not polled yet"
        answering = found.get(Condition.UP, 0) + found.get(Condition.WARNING, 0)
        return f"All {total} up" if answering == total > 1 else f"{answering} of {total} up"

    @property
    def polled(self) -> bool:
        """Whether any service was ever polled."""
        return any(row.last_polled_at for row in self.services)


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One address that is polled."""

    label: str
    url: str
    condition: Condition
    last_polled_at: datetime | None
    last_success_at: datetime | None
    error: str
    warning: str
    failures: int
    poll_duration: float | None
    availability: float | None
    """The share of polls in the window that it answered, 0 to 1; None without a poll."""


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One method + route at which something happened in the window."""

    method: str
    route: str
    figures: Figures
    status_codes: tuple[tuple[int, int], ...]
    """(code, answers), ascending."""


@dataclass(frozen=True, slots=True)
class ServicePage:
    """One service in full; endpoints unsorted."""

    head: ServiceRow
    restarts: tuple[datetime, ...]
    """Of its instances in the window, the latest first."""
    instances: tuple[InstanceRow, ...]
    endpoints: tuple[EndpointRow, ...]
    idle_endpoints: int
    """How many more endpoints it has, at which nothing happened in the window."""
    documents_since: datetime | None
