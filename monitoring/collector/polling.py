"""One round: fetch every instance in parallel, store each service as soon as it is complete, hand the round to the other sinks.

One failure, of whatever kind and wherever, is an entry in the report and never stops the rest.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import requests
from django.utils import timezone

from monitoring.collector import fetching
from monitoring.collector.sinks import database
from monitoring.collector.sinks.base import PolledInstance, Sink, SinkError
from monitoring.collector.sinks.database import Outcome, Stored
from monitoring.collector.transport import Session
from monitoring.models import Instance, Service
from monitoring.wire import MetricsDocument

logger = logging.getLogger(__name__)

CONCURRENCY = 32
"""Instances that are fetched at the same time."""


class Fetch(Protocol):
    """What fetching.fetch is: URL to document, or FetchError."""

    def __call__(
        self, url: str, *, timeout: float, token: str, seconds_per_unit: float, session: requests.Session
    ) -> MetricsDocument: ...


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
    error: str = ""
    warning: str = ""

    @property
    def ok(self) -> bool:
        return not self.error


@dataclass(slots=True)
class SinkReport:
    """How a sink beside the database took the round."""

    name: str
    error: str = ""

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
    sinks: Sequence[Sink] = (),
    concurrency: int = CONCURRENCY,
    deadline: float | None = None,
    dry_run: bool = False,
    fetch: Fetch = fetching.fetch,
) -> RoundReport:
    """Poll these services now, whether they are enabled or not.

    After `deadline` seconds nobody is waited for any more: an instance that has not answered by then, though its service's
    timeout allows it to, is reported and its state stays as it was. With `dry_run` nothing is stored or written anywhere.
    """
    reports = {service.pk: ServiceReport(service.name) for service in services}
    awaited = {service.pk: {instance.pk: instance for instance in service.instances.all()} for service in services}
    outcomes: dict[int, list[Outcome]] = {service.pk: [] for service in services}
    polled: list[PolledInstance] = []

    def finish(service: Service) -> None:
        report, late = reports[service.pk], awaited[service.pk].values()
        if not dry_run:
            polled.extend(_store(service, outcomes[service.pk], report))
        _sum_up(report, outcomes[service.pk])
        if late:
            said = f"no answer within the {deadline:g} s that this poll could wait; nothing was stored"
            report.error = _listed(report.error, *(f"{instance.label}: {said}" for instance in late))
        elif not outcomes[service.pk]:
            report.warning = "no instance is registered: add the URL of its metrics document"

    with Session(pool_size=concurrency) as session:
        for service, outcome in _poll_all(services, concurrency, deadline, fetch, session):
            outcomes[service.pk].append(outcome)
            del awaited[service.pk][outcome.instance.pk]
            if not awaited[service.pk]:
                finish(service)
        for service in services:
            if awaited[service.pk] or not outcomes[service.pk]:
                finish(service)
    return RoundReport(list(reports.values()), [_write(sink, polled) for sink in sinks] if polled else [])


def _poll_all(
    services: Sequence[Service], concurrency: int, deadline: float | None, fetch: Fetch, session: requests.Session
) -> Iterator[tuple[Service, Outcome]]:
    """Each instance's outcome as it comes, until the deadline.

    The threads are daemons, so that one that still waits for a service when the deadline or the program ends holds up nobody.
    They touch neither the database nor settings.
    """
    ends = None if deadline is None else time.monotonic() + deadline
    waiting: queue.SimpleQueue[tuple[Service, Instance]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Service, Outcome]] = queue.SimpleQueue()
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            try:
                service, instance = waiting.get_nowait()
            except queue.Empty:
                return
            done.put((service, _poll(service, instance, fetch, session)))

    jobs = [(service, instance) for service in services for instance in service.instances.all()]
    for job in jobs:
        waiting.put(job)
    for number in range(min(concurrency, len(jobs))):
        threading.Thread(target=work, name=f"poll-{number}", daemon=True).start()
    try:
        for _ in jobs:
            try:
                yield done.get(timeout=None if ends is None else max(0.0, ends - time.monotonic()))
            except queue.Empty:
                return
    finally:
        over.set()


def _poll(service: Service, instance: Instance, fetch: Fetch, session: requests.Session) -> Outcome:
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
    return Outcome(instance, polled_at, duration, document, error, _name_warning(service, document))


def _name_warning(service: Service, document: MetricsDocument | None) -> str:
    if document is None or document.service_name in (None, service.name):
        return ""
    return f"the document calls the service “{document.service_name}”; its history is kept as “{service.name}”"


def _store(service: Service, outcomes: Sequence[Outcome], report: ServiceReport) -> list[PolledInstance]:
    """Store one service; where that fails, its instances say so. What the other sinks get."""
    if not outcomes:
        return []
    try:
        stored = database.store(service, outcomes)
    except Exception as error:
        logger.exception("What was polled of %s could not be stored", service)
        report.error = f"polled, but not stored ({type(error).__name__}: {error})"
        _store_failure(service, outcomes, f"Polled, but not stored ({type(error).__name__}: {error}).")
        return [database.polled_instance(service, outcome) for outcome in outcomes]
    report.warning = _warnings(stored)
    counts = [sum(one.count for one in each.polled.interval.endpoints) for each in stored if each.polled.interval]
    report.requests = sum(counts) if counts else None
    return [each.polled for each in stored]


def _store_failure(service: Service, outcomes: Sequence[Outcome], error: str) -> None:
    try:
        database.store(service, [replace(one, document=None, error=one.error or error) for one in outcomes])
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


def _write(sink: Sink, polled: Sequence[PolledInstance]) -> SinkReport:
    try:
        sink.write(polled)
    except SinkError as error:
        return SinkReport(sink.name, str(error))
    except Exception as error:
        logger.exception("The sink %s failed unexpectedly", sink.name)
        return SinkReport(sink.name, f"it failed unexpectedly ({type(error).__name__}: {error}); the log tells more")
    return SinkReport(sink.name)


def _listed(*texts: str) -> str:
    return "; ".join(text for text in texts if text)
