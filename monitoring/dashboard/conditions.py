"""How a service is, in the order in which a person should look at it."""

from __future__ import annotations

import enum
from datetime import datetime

from monitoring import schedule
from monitoring.models import Service, State

FAILING_SHARE = 0.05
"""From this share of answers with a status of 500 and above a service that answers its polls counts as failing."""


class Condition(enum.Enum):
    """A service's state, refined by what its numbers say; the worst first."""

    DOWN = "down"
    OVERDUE = "overdue"
    FAILING = "failing"
    WARNING = "warning"
    NEW = "new"
    UP = "up"
    PAUSED = "paused"

    @property
    def severity(self) -> int:
        """0 is the worst."""
        return list(Condition).index(self)


def judge(service: Service, error_rate: float | None, now: datetime) -> Condition:
    """The condition of a service whose instances are loaded; `error_rate` is of the window that is shown."""
    state = service.state
    if state == State.PAUSED:
        return Condition.PAUSED
    if state == State.DOWN:
        return Condition.DOWN
    if is_overdue(service, now):
        return Condition.OVERDUE
    if error_rate is not None and error_rate >= FAILING_SHARE:
        return Condition.FAILING
    if any(instance.warning for instance in service.instances.all()):
        return Condition.WARNING
    return Condition.NEW if state == State.NEW else Condition.UP


def is_overdue(service: Service, now: datetime) -> bool:
    """Whether a slot of the schedule has gone by without a poll, and not just now: then what is shown is the past."""
    if not service.enabled or not service.instances.all():
        return False
    try:
        due = service.next_due(service.last_polled_at or service.registered_at)
    except schedule.ScheduleError:  # written past the form's validation: it is never polled
        return True
    return due is not None and due + schedule.LATENESS < now
