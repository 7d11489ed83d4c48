"""The history: outcomes of polls become rows, and counters become intervals on the way.

An interval is counted inside the transaction that stores it, from the baseline that is locked there, so that two collectors at
once never count a request twice; and what other sinks get of it goes into the outbox in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from django.db import router, transaction
from django.db.models import F

from monitoring.collector import baselines, endpoints, intervals, observing, outbox, rollups, rows
from monitoring.collector.intervals import InstanceInterval
from monitoring.collector.outcomes import Outcome
from monitoring.collector.rows import AvailabilityRow, EndpointRow, IntervalRow
from monitoring.collector.sinks.base import PolledInstance
from monitoring.models import Baseline, Instance, Service, milliseconds


@dataclass(frozen=True, slots=True)
class Stored:
    """An outcome with its interval, and what was odd, found while it was stored."""

    polled: PolledInstance
    warning: str = ""


def polled_instance(service: Service, outcome: Outcome, interval: InstanceInterval | None = None) -> PolledInstance:
    """The outcome as sinks get it."""
    return PolledInstance(
        service.name,
        outcome.instance.label,
        outcome.polled_at,
        outcome.poll_duration,
        outcome.error,
        outcome.document,
        interval,
    )


def store(service: Service, outcomes: Sequence[Outcome], to_outbox: bool = False) -> list[Stored]:
    """Store the outcomes of one service in one transaction: all, or, where it raises (mostly a DatabaseError), nothing.

    With `to_outbox`, their points go into the outbox in the same one.
    An instance that was deleted or got another URL while it was polled is left out.
    """
    stored: list[Stored] = []
    polled: list[_Polled] = []
    with transaction.atomic(using=router.db_for_write(Service)):
        # A write that changes nothing comes first. It locks the service for this transaction; and on SQLite it takes the lock for
        # writing before anything is read: a transaction that asks for it later fails at once instead of waiting its turn.
        if not Service.objects.filter(pk=service.pk).update(name=F("name")):
            return []
        instances = {one.pk: one for one in Instance.objects.filter(service=service).order_by().select_related("baseline")}
        counted: dict[float, Instance] = {}
        for outcome in sorted(outcomes, key=lambda one: _latest_first(instances.get(one.instance.pk))):
            instance = instances.get(outcome.instance.pk)
            if instance is None or instance.url != outcome.instance.url:
                continue
            interval, warning = _count(instance, outcome)
            started_at = outcome.document.started_at if outcome.document else None
            twin = None if started_at is None else counted.setdefault(started_at, instance)
            if twin is not None and twin is not instance:
                interval = None
                warning = _joined(
                    warning,
                    f"it reports the counters of {twin.label} a second time, which are left out: their processes share a folder."
                    " Register one of the two, or give each server a STATE_DIR of its own",
                )
            polled.append(_Polled(instance, outcome, interval, warning))
        ids = endpoints.admit(service, [one.outcome.document for one in polled if one.outcome.document is not None])
        polled = [_bounded(one, ids) for one in polled]
        for one in polled:
            warning = observing.observe(one.instance, one.outcome, one.interval, one.warning)
            stored.append(Stored(polled_instance(service, one.outcome, one.interval), warning))
        _save_history(service, polled, ids)
        if to_outbox:
            outbox.put([one.polled for one in stored])
    return stored


class _Polled(NamedTuple):
    """An outcome, the instance as it is stored, and what was found between them."""

    instance: Instance
    outcome: Outcome
    interval: InstanceInterval | None
    warning: str


def _bounded(polled: _Polled, admitted: Mapping[str, int]) -> _Polled:
    """The same where all of its endpoints were admitted, else with the others folded into one, and a warning.

    The baseline is made of the whole document: what is folded at the next poll is counted from there.
    """
    document, interval = polled.outcome.document, polled.interval
    if document is None or document.endpoints.keys() <= admitted.keys():
        return polled
    return _Polled(
        polled.instance,
        replace(polled.outcome, document=endpoints.within(document, admitted)),
        None if interval is None else endpoints.folded(interval, admitted),
        _joined(polled.warning, endpoints.too_many()),
    )


def _latest_first(instance: Instance | None) -> tuple[float, int]:
    """Of instances that share their counters, the one counts whose baseline is the newest: it knows what was counted already."""
    row: Baseline | None = getattr(instance, "baseline", None)
    return (-row.polled_at.timestamp() if row is not None else 0.0, instance.pk if instance is not None else 0)


def _count(instance: Instance, outcome: Outcome) -> tuple[InstanceInterval | None, str]:
    """The interval that ends with this poll, and what is odd. The document becomes the new baseline."""
    if outcome.document is None:
        return None, ""
    row: Baseline | None = getattr(instance, "baseline", None)
    baseline, readable = None, True
    if row is not None:
        try:
            baseline = intervals.Baseline(baselines.load(row.document), row.polled_at, row.poll_duration)
        except baselines.BaselineError:
            readable = False
    if intervals.is_stale(baseline, outcome.polled_at):
        return None, _joined(
            outcome.warning,
            "left out, as it overlaps a poll that is stored: two collectors at once, or a clock that was set back",
        )
    if row is None:
        row = Baseline(instance=instance)
    row.polled_at, row.poll_duration, row.document = outcome.polled_at, outcome.poll_duration, baselines.dump(outcome.document)
    row.save()
    if not readable:  # with no baseline at all, an instance's whole past might be counted a second time
        return None, _joined(outcome.warning, "the stored baseline could not be read, so counting starts anew with this poll")
    interval = intervals.between(baseline, outcome.document, outcome.polled_at, instance.registered_at, instance.recent_starts)
    if interval is None or not interval.fallen:
        return interval, outcome.warning
    keys = ", ".join(interval.fallen[:3]) + (", …" if len(interval.fallen) > 3 else "")
    return interval, _joined(outcome.warning, f"counts fell although the service says it did not restart ({keys})")


def _save_history(service: Service, polled: Sequence[_Polled], ids: Mapping[str, int]) -> None:
    if not polled:
        return
    polls: list[AvailabilityRow] = []
    totals: list[IntervalRow] = []
    shares: list[EndpointRow] = []
    pk = service.pk
    for instance, outcome, interval, _ in polled:
        end = milliseconds(outcome.polled_at)
        polls.append(rows.poll(pk, instance.pk, end, outcome.poll_duration, failed=outcome.document is None))
        if interval is None:
            continue
        end = milliseconds(interval.end)
        covered = end - milliseconds(interval.start)
        total = intervals.total(interval.endpoints)
        totals.append(rows.polled_interval(pk, instance.pk, end, covered, int(interval.reset), total))
        shares += [rows.polled_endpoint(pk, instance.pk, end, ids[one.method + one.route], one) for one in interval.endpoints]
    rolled_up = rollups.mark(pk, min(row.end for row in polls))
    rows.insert([*polls, *rollups.late(rolled_up, polls)])
    rows.insert([*totals, *rollups.late(rolled_up, totals)])
    rows.insert([*shares, *rollups.late(rolled_up, shares)])


def _joined(*warnings: str) -> str:
    return "; ".join(warning for warning in warnings if warning)
