"""One round: fetch every instance in parallel, and store each service as soon as it is complete.

One failure, of whatever kind and wherever, is an entry in the report and never stops the rest.
"""

from __future__ import annotations

import contextlib
import logging
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from django.utils import timezone

from monitoring.collector import fetching, history, parallel
from monitoring.collector.outcomes import Outcome
from monitoring.collector.sinks import database
from monitoring.collector.sinks.database import Stored
from monitoring.collector.transport import Session, affordable_connections
from monitoring.models import Instance, Service
from monitoring.targets import Targets
from monitoring.wire import MetricsDocument

logger = logging.getLogger(__name__)

CONCURRENCY = 16
"""Instances that are fetched at the same time, without those that let us wait."""


class Fetch(Protocol):
    """What fetching.fetch is: URL to document, or FetchError."""

    def __call__(self, url: str, *, timeout: float, token: str, seconds_per_unit: float, session: Session) -> MetricsDocument: ...


@dataclass(slots=True)
class ServiceReport:
    """How the poll of one service went, over all its instances."""

    name: str
    endpoints: int = 0
    """Endpoints in the documents."""
    requests: int | None = None
    """Requests in the intervals that end with this poll; None where it only laid the baseline, or nothing was stored."""
    duration: float = 0.0
    """Seconds that the slowest instance took."""
    state: str = ""
    """A value of models.State, after this poll; empty where nothing was stored."""
    since: datetime | None = None
    error: str = ""
    warning: str = ""

    @property
    def ok(self) -> bool:
        return not self.error


@dataclass(slots=True)
class SinkReport:
    """How what comes after the polls went: a sink beside the database, the rollups of the history."""

    name: str
    error: str = ""
    detail: str = ""
    """What is told where all went well."""

    @property
    def ok(self) -> bool:
        return not self.error


@dataclass(slots=True)
class RoundReport:
    """How a round went: the services in the order in which they were given, and the sinks."""

    services: list[ServiceReport] = field(default_factory=list)
    sinks: list[SinkReport] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(one.ok for one in self.services) and all(one.ok for one in self.sinks)


def poll_services(
    services: Sequence[Service],
    *,
    to_outbox: bool = False,
    targets: Targets | None = None,
    session: Session | None = None,
    spread: float = 0.0,
    concurrency: int = CONCURRENCY,
    deadline: float | None = None,
    dry_run: bool = False,
    fetch: Fetch = fetching.fetch,
) -> RoundReport:
    """Poll these services now, whether they are enabled or not.

    With `to_outbox`, points go there in the transaction that stores a service; forwarding.deliver() delivers them. `targets` says
    what may be connected to; a `session`, which keeps connections from round to round, has its own. With `spread`, polls begin
    over so many seconds, each service at its own point of them in every round. After `deadline` seconds nobody is waited for any
    more: an instance that has not answered by then, though its service's timeout allows it to, is reported and its state stays as
    it was. With `dry_run` nothing is stored anywhere.
    """
    reports = {service.pk: ServiceReport(service.name) for service in services}
    awaited = {service.pk: {instance.pk: instance for instance in service.instances.all()} for service in services}
    outcomes: dict[int, list[Outcome]] = {service.pk: [] for service in services}

    def finish(service: Service) -> None:
        report, late = reports[service.pk], awaited[service.pk].values()
        found = outcomes.pop(service.pk)  # documents are large, and this one is not needed again
        if not dry_run:
            _store(service, found, report, to_outbox)
        _sum_up(report, found)
        if late:
            said = f"no answer within the {deadline:g} s that this poll could wait; nothing was stored"
            report.error = _listed(report.error, *(f"{instance.label}: {said}" for instance in late))
        elif not found:
            report.warning = "no instance is registered: add the URL of its metrics document"

    with contextlib.nullcontext(session) if session is not None else Session(targets=targets) as used:

        def poll(job: tuple[Service, Instance]) -> Outcome:
            return _poll(*job, fetch, used)

        jobs = [(spread * _point(service), (service, instance)) for service in services for instance in service.instances.all()]
        for (service, _), outcome in parallel.run(
            jobs, poll, concurrency=concurrency, limit=max(concurrency, affordable_connections()), deadline=deadline
        ):
            outcomes[service.pk].append(outcome)
            del awaited[service.pk][outcome.instance.pk]
            if not awaited[service.pk]:
                finish(service)
        for service in services:
            if service.pk in outcomes:
                finish(service)
    return RoundReport(list(reports.values()))


def _point(service: Service) -> float:
    """A service's own point between 0 and 1, the same on every machine and in every round."""
    return zlib.crc32(service.name.encode()) / 2**32


def _poll(service: Service, instance: Instance, fetch: Fetch, session: Session) -> Outcome:
    polled_at, start = timezone.now(), time.monotonic()
    document, error = None, ""
    try:
        document = fetch(
            instance.url,
            timeout=service.timeout,
            token=service.token,
            seconds_per_unit=service.seconds_per_unit,
            session=session,
        )
    except fetching.FetchError as failure:
        error = str(failure)
    except Exception as failure:  # an error of ours is one instance's failure too
        logger.exception("Polling %s failed unexpectedly", instance.label)
        error = f"The collector failed: {type(failure).__name__}; its log tells more."
    duration = time.monotonic() - start
    return Outcome(instance, polled_at, duration, document, error, _odd(service, document) if document else "")


def _odd(service: Service, document: MetricsDocument) -> str:
    """What is odd about a document that could be read."""
    renamed = truncated = ""
    if document.service_name not in (None, service.name):
        renamed = f"the document calls the service “{document.service_name}”; its history is kept as “{service.name}”"
    if document.truncated:
        truncated = (
            f"the document is too large: its first {len(document.endpoints):,} endpoints are read, and the rest is not counted."
            " Do its routes hold ids or names?"
        )
    return _listed(renamed, truncated, document.warning or "")


def _store(service: Service, outcomes: Sequence[Outcome], report: ServiceReport, to_outbox: bool) -> None:
    """Store one service; where that fails, its instances say so."""
    if not outcomes:
        return
    try:
        stored = database.store(service, outcomes, to_outbox)
    except Exception as error:
        logger.exception("What was polled of %s could not be stored", service)
        said = history.explain(error)
        report.error = f"polled, but not stored ({said})"
        _store_failure(service, outcomes, f"Polled, but not stored ({said}).", to_outbox)
        return
    status = service.status(timezone.now())
    report.state, report.since = status.state, status.since
    report.warning = _warnings(stored)
    counts = [sum(one.count for one in each.polled.interval.endpoints) for each in stored if each.polled.interval]
    report.requests = sum(counts) if counts else None


def _store_failure(service: Service, outcomes: Sequence[Outcome], error: str, to_outbox: bool) -> None:
    try:
        database.store(service, [replace(one, document=None, error=one.error or error) for one in outcomes], to_outbox)
    except Exception:  # the database is down, most likely; the first error is reported and logged
        logger.debug("Nor could it be stored that storing %s failed", service, exc_info=True)


def _sum_up(report: ServiceReport, outcomes: Sequence[Outcome]) -> None:
    report.endpoints = len({key for outcome in outcomes if outcome.document for key in outcome.document.endpoints})
    report.duration = max((outcome.poll_duration for outcome in outcomes), default=0.0)
    failed = [f"{outcome.instance.label}: {outcome.error}" for outcome in outcomes if outcome.error]
    report.error = _listed(report.error, *failed)
    report.warning = report.warning or _listed(*dict.fromkeys(outcome.warning for outcome in outcomes))


def _warnings(stored: Sequence[Stored]) -> str:
    return _listed(*dict.fromkeys(one.warning for one in stored))


def _listed(*texts: str) -> str:
    return "; ".join(text for text in texts if text)
