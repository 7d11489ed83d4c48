"""How a service is, in the order in which a person should look at it."""

from __future__ import annotations

import enum

from monitoring.models import Instance, Service, State

FAILING_SHARE = 0.05
"""From this share of answers with a status of 500 and above a service that answers its polls counts as failing."""


class Condition(enum.Enum):
    """A service's state, refined by what its numbers say; the worst first."""

    DOWN = "down"
    LATE = "late"
    FAILING = "failing"
    WARNING = "warning"
    NEW = "new"
    UP = "up"
    PAUSED = "paused"

    @property
    def severity(self) -> int:
        """0 is the worst."""
        return list(Condition).index(self)


def judge(service: Service, state: str, error_rate: float | None) -> Condition:
    """The condition of a service in this state, whose instances are loaded; `error_rate` is of the window that is shown."""
    condition = Condition(state)
    if condition not in (Condition.UP, Condition.NEW):
        return condition
    if error_rate is not None and error_rate >= FAILING_SHARE:
        return Condition.FAILING
    if any(instance.warning or instance.last_error for instance in service.instances.all()):
        return Condition.WARNING
    return condition


def judge_instance(instance: Instance, paused: bool) -> Condition:
    if paused:
        return Condition.PAUSED
    if instance.is_down:
        return Condition.DOWN
    if instance.last_error or instance.warning:
        return Condition.WARNING
    return Condition.NEW if instance.last_polled_at is None else Condition(State.UP)
