"""What is told of a round, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.utils import timezone

from monitoring.collector import forwarding
from monitoring.collector.polling import RoundReport, ServiceReport, SinkReport
from monitoring.models import State
from monitoring.schedule import Missed


def details(row: ServiceReport | SinkReport, paused: bool) -> str:
    """What is told of a service or a sink after its name and whether it is well."""
    if isinstance(row, SinkReport):
        return row.error or row.detail
    parts = []
    if row.ok or row.endpoints:
        requests = "- requests" if row.requests is None else f"{row.requests:,} requests"
        parts.append(f"{row.endpoints:>4} endpoints  {requests:>16}  {row.duration:.3f} s")
    if row.state:
        parts.append(
            ("still " if row.error and row.state != State.DOWN else "")
            + row.state
            + (f" since {timezone.localtime(row.since):%Y-%m-%d %H:%M}" if row.since else "")
        )
    parts += [text for text in (row.error, row.warning and f"Warning: {row.warning}") if text]
    if paused:
        parts.append("Paused; polled because it was named.")
    return "  ".join(parts)


def failures(report: RoundReport) -> str:
    """Everything that failed, a line each; empty where nothing did."""

    def failed(rows: Sequence[ServiceReport | SinkReport], kind: str) -> str:
        bad = [row for row in rows if not row.ok]
        listed = "\n".join(f"  {row.name}: {row.error}" for row in bad)
        return f"{len(bad)} of {len(rows)} {kind}{'s' if len(rows) > 1 else ''} failed:\n{listed}" if bad else ""

    return "\n".join(text for text in (failed(report.services, "service"), failed(report.sinks, "sink")) if text)


def missed(slots: Mapping[str, Missed]) -> str:
    """Slots that nobody served, by the name of the service."""
    count = sum(one.count for one in slots.values())
    first, last = min(one.first for one in slots.values()), max(one.last for one in slots.values())
    names = ", ".join([*list(slots)[:5], *([f"and {len(slots) - 5} more"] if len(slots) > 5 else [])])
    return (
        f"Missed: {count} slot{'s' if count > 1 else ''} of {names}, from {timezone.localtime(first):%Y-%m-%d %H:%M} to"
        f" {timezone.localtime(last):%Y-%m-%d %H:%M}: no collector ran then, or its rounds took too long. They are not made"
        " up; nothing that the services count is lost."
    )


def delivery(name: str, found: forwarding.Report) -> SinkReport:
    """How a delivery to the sink of this name went."""
    said = [found.error] if found.error else []
    if found.rejected:
        refused = _points(found.rejected, "was", "were")
        said.append(f"{refused} refused and set aside: the admin shows them (Monitoring › Rejected points).")
    if found.dropped:
        said.append(
            f"{_points(found.dropped, 'was', 'were')} dropped: the outbox was full, or they were too old (setting OUTBOX)."
            " manage.py export_history --since ... --until ... writes what the history still has of that time."
        )
    waits = ""
    if found.waiting and found.since:
        waits = f"{_points(found.waiting, 'waits', 'wait')} since {timezone.localtime(found.since):%Y-%m-%d %H:%M:%S}."
        if found.retry_at:
            waits += f" The next attempt is due at {timezone.localtime(found.retry_at):%H:%M:%S}."
    if said:
        return SinkReport(name, " ".join([*said, waits]).strip())
    busy = " Another collector delivers at this moment." if found.busy else ""
    return SinkReport(name, "", f"{_points(found.delivered, 'delivered', 'delivered')}. {waits}{busy}".strip())


def _points(number: int, singular: str, plural: str) -> str:
    return f"{number:,} point {singular}" if number == 1 else f"{number:,} points {plural}"
