"""What one poll says about its instance: up or failing since when, restarted, or not one instance at all."""

from __future__ import annotations

from datetime import datetime

from monitoring.collector import intervals, restarts
from monitoring.collector.intervals import InstanceInterval
from monitoring.collector.outcomes import Outcome
from monitoring.models import Instance, Restart
from monitoring.wire import MetricsDocument

RESTARTS_KEPT = 1000
"""Of one instance: one that crashes each minute would fill the table otherwise."""


def observe(instance: Instance, outcome: Outcome, interval: InstanceInterval | None, warning: str) -> str:
    """Save the poll's outcome as the instance's state, within the transaction of the caller. What is odd, after `warning`.

    The outcome's own instance, which the caller of the round holds, gets the state too.
    """
    if instance.last_polled_at is not None and intervals.is_older(outcome.polled_at, instance.last_polled_at):
        return warning  # an overlapping collector has newer news
    before = instance.last_polled_at
    changes: dict[str, object] = {
        "last_polled_at": outcome.polled_at,
        "poll_duration": outcome.poll_duration,
        "last_error": outcome.error,
    }
    if outcome.document is None:
        changes["failures"] = instance.failures + 1
        changes["failing_since"] = instance.failing_since or outcome.polled_at
    else:
        warning = _joined(warning, _observe_start(instance, outcome.document, interval, before, outcome.polled_at))
        changes |= {"failures": 0, "failing_since": None, "last_success_at": outcome.polled_at, "warning": warning}
        changes |= {"recent_starts": instance.recent_starts, "up_since": instance.up_since or outcome.polled_at}
    for one in (instance, outcome.instance):
        for name, value in changes.items():
            setattr(one, name, value)
    if instance.is_down:
        instance.up_since = outcome.instance.up_since = None
        changes["up_since"] = None
    instance.save(update_fields=list(changes))
    return warning


def _observe_start(
    instance: Instance,
    document: MetricsDocument,
    interval: InstanceInterval | None,
    before: datetime | None,
    polled_at: datetime,
) -> str:
    """Remember the start of what answered, and a restart where it is one; what is odd about it."""
    if document.truncated and document.started_at is None:  # it stands behind the part that was read
        return ""
    starts = instance.recent_starts
    start = document.started_at
    if start is None:
        start = starts[-1] if starts and not (interval and interval.reset) else polled_at.timestamp()
    instance.recent_starts = restarts.remember(starts, start)
    if restarts.came_back(instance.recent_starts):
        false = [intervals.moment(one) for one in set(instance.recent_starts)]
        Restart.objects.filter(instance=instance, started_at__in=[one for one in false if one]).delete()
    elif starts and start not in starts:
        _remember_restart(instance, intervals.moment(start), before, polled_at)
    return restarts.judge(instance.recent_starts, told=document.started_at is not None)


def _remember_restart(instance: Instance, started_at: datetime | None, before: datetime | None, polled_at: datetime) -> None:
    likely = started_at is not None and started_at <= polled_at and (before is None or before < started_at)
    Restart.objects.create(
        service_id=instance.service_id, instance=instance, at=started_at if likely else polled_at, started_at=started_at
    )
    outdated = Restart.objects.filter(instance=instance).values_list("pk", flat=True)[RESTARTS_KEPT:]
    Restart.objects.filter(pk__in=list(outdated)).delete()


def _joined(*warnings: str) -> str:
    return "; ".join(warning for warning in warnings if warning)
