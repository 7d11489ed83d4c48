"""The history: outcomes of polls become rows, and counters become intervals on the way.

An interval is counted inside the transaction that stores it, from the baseline that is locked there, so that two collectors at
once never count a request twice; and what other sinks get of it goes into the outbox in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import router, transaction
from django.db.models import F

from monitoring.collector import baselines, intervals, observing, outbox, rollups, rows
from monitoring.collector.intervals import InstanceInterval
from monitoring.collector.outcomes import Outcome
from monitoring.collector.rows import AvailabilityRow, EndpointRow, IntervalRow
from monitoring.collector.sinks.base import PolledInstance
from monitoring.models import Baseline, Endpoint, Instance, Service, milliseconds

_ROWS_A_STATEMENT = 1000


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
    polled: list[tuple[Instance, Outcome]] = []
    found: list[tuple[Instance, InstanceInterval]] = []
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
            warning = observing.observe(instance, outcome, interval, warning)
            stored.append(Stored(polled_instance(service, outcome, interval), warning))
            polled.append((instance, outcome))
            if interval is not None:
                found.append((instance, interval))
        _save_history(service, polled, found)
        if to_outbox:
            outbox.put([one.polled for one in stored])
    return stored


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


def _save_history(
    service: Service, outcomes: Sequence[tuple[Instance, Outcome]], found: Sequence[tuple[Instance, InstanceInterval]]
) -> None:
    if not outcomes:
        return
    ids = _endpoint_ids(service, {(one.method, one.route) for _, interval in found for one in interval.endpoints})
    polls: list[AvailabilityRow] = []
    totals: list[IntervalRow] = []
    shares: list[EndpointRow] = []
    pk = service.pk
    for instance, outcome in outcomes:
        end = milliseconds(outcome.polled_at)
        polls.append(rows.poll(pk, instance.pk, end, outcome.poll_duration, failed=outcome.document is None))
    for instance, interval in found:
        end = milliseconds(interval.end)
        covered = end - milliseconds(interval.start)
        total = intervals.total(interval.endpoints)
        totals.append(rows.polled_interval(pk, instance.pk, end, covered, int(interval.reset), total))
        shares += [rows.polled_endpoint(pk, instance.pk, end, ids[one.method, one.route], one) for one in interval.endpoints]
    rolled_up = rollups.mark(pk, min(row.end for row in polls))
    rows.insert([*polls, *rollups.late(rolled_up, polls)])
    rows.insert([*totals, *rollups.late(rolled_up, totals)])
    rows.insert([*shares, *rollups.late(rolled_up, shares)])


def _endpoint_ids(service: Service, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The primary keys of endpoints by method and route; those that are new are created."""

    def known() -> dict[tuple[str, str], int]:
        return {(method, route): pk for method, route, pk in rows.select(Endpoint, ("method", "route", "id"), service.pk)}

    ids = known() if wanted else {}
    missing = sorted(wanted - ids.keys())
    if missing:
        new = [Endpoint(service=service, method=method, route=route) for method, route in missing]
        Endpoint.objects.bulk_create(new, batch_size=_ROWS_A_STATEMENT)
        ids = known()  # not every database tells the keys of rows that were created in bulk
    return ids


def _joined(*warnings: str) -> str:
    return "; ".join(warning for warning in warnings if warning)
