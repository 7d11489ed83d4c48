"""manage.py collect_metrics: poll the registered services and store what they report."""

from __future__ import annotations

import contextlib
import math
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from typing import Any

from django.core.checks import run_checks
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from monitoring.collector import due, forwarding, heartbeat, history, loop, outbox, polling, sinks, telling, transport
from monitoring.collector.forwarding import Patience
from monitoring.collector.polling import RoundReport, ServiceReport, SinkReport
from monitoring.collector.transport import Session
from monitoring.conf import conf
from monitoring.management import checking
from monitoring.models import Service

SPREAD = 5.0
"""Seconds over which a loop's polls begin, so that a fleet is not asked all at once."""


class Command(BaseCommand):
    requires_system_checks = ()  # see _wrong_settings()
    help = (
        "Polls the registered services, stores what happened since the poll before, and writes it to InfluxDB where that is"
        " configured. Without options it polls all enabled services now, once. Exits with 1 when a service or a sink failed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--due", action="store_true", help="Poll only what its schedule says is due: for cron, each minute.")
        parser.add_argument(
            "--service",
            action="append",
            metavar="NAME",
            help="Poll only this service; repeatable. A paused service is polled when it is named, unless schedules decide.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Fetch and report once; store and write nothing.")
        parser.add_argument(
            "--loop", action="store_true", help="Go on until SIGTERM or Ctrl-C: each minute what is due, without cron."
        )
        parser.add_argument(
            "--every", type=_seconds, metavar="SECONDS", help="With --loop: poll at this pace, whatever the schedules say."
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="Only say whether InfluxDB's address, token, organisation and bucket are right; poll, write, remove nothing.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["check"]:
            checking.check_influxdb(self, options, _wrong_settings)
            return
        self.names: list[str] = options["service"] or []
        self.dry_run, self.loops, self.verbosity = options["dry_run"], options["loop"], options["verbosity"]
        self.by_schedule = options["due"] or (self.loops and options["every"] is None)
        self.said = ""
        if options["every"] is not None and (options["due"] or not self.loops):
            raise CommandError("--every is the pace of --loop, and no schedule counts then: use --loop --every SECONDS.")
        if self.dry_run and self.loops:
            raise CommandError("--dry-run looks once: leave --loop out.")
        self.wrong = _wrong_settings()
        for problem in self.wrong:
            self.stderr.write(self.style.WARNING(problem))
        self.sink = sinks.configured(conf.INFLUXDB)
        # A typing error in the setting costs no points: they wait until it is mended.
        self.to_outbox = self.sink is not None or any(_INFLUXDB in problem for problem in self.wrong)
        transport.raise_descriptor_limit()
        self.pace = options["every"] or 60.0
        if not self.loops:
            with Session(targets=conf.ALLOWED_TARGETS) as self.session:
                self.poll_once()
            return
        if self.names:
            self.select(claim=False)  # a misspelled name ends the loop before it begins
        pace = loop.each_minute if options["every"] is None else loop.every(options["every"])
        with Session(keep=transport.keepable_connections(), targets=conf.ALLOWED_TARGETS) as self.session:
            loop.repeat(self.poll_in_loop, pace, on_error=self.say_error, on_stop=self.say_stopping)

    def select(self, claim: bool = True) -> due.Due:
        try:
            if not self.by_schedule:
                return due.Due(due.selected_services(self.names))
            among = due.selected_services(self.names) if self.names else None
            return due.due_services(timezone.now(), among=among, claim=claim and not self.dry_run)
        except due.UnknownServiceError as error:
            raise CommandError(str(error)) from None

    def poll_once(self) -> None:
        """One round, and the history rolled up. Raises CommandError where anything failed."""
        if self.dry_run or not (self.by_schedule or self.loops):
            report = self.poll(heartbeat.Tick())
        else:
            with _database_errors_explained(), heartbeat.tick("loop" if self.loops else "cron", self.pace) as tick:
                report = self.poll(tick)
        if not report.ok:
            raise CommandError(telling.failures(report))

    def poll(self, tick: heartbeat.Tick) -> RoundReport:
        with _database_errors_explained():
            history.prepare()
            selected = self.select()
            if selected.missed:
                self.stderr.write(telling.missed(selected.missed))
            if not selected.services and not selected.broken:
                self.say_nothing_to_do()
        tick.oldest_slot = selected.oldest_slot
        report = polling.poll_services(
            selected.services,
            to_outbox=self.to_outbox,
            session=self.session,
            spread=SPREAD if self.loops and self.by_schedule else 0.0,
            dry_run=self.dry_run,
        )
        report.services += [ServiceReport(name, error=error) for name, error in selected.broken.items()]
        tick.services, tick.failed = len(report.services), sum(1 for one in report.services if not one.ok)
        report.sinks += [SinkReport("InfluxDB", problem) for problem in self.wrong if _INFLUXDB in problem]
        if not self.dry_run:
            self.finish_round(report, polled=bool(report.services))
        self.say_report(report, {service.name for service in selected.services if not service.enabled})
        return report

    def finish_round(self, report: RoundReport, polled: bool) -> None:
        """Deliver what waits in the outbox; roll up and prune the history. What fails is in the report."""
        try:
            told = self.deliver()
            report.sinks += [told] if told is not None and (polled or told.error) else []
        except DatabaseError as error:
            report.sinks.append(SinkReport("outbox", f"The database cannot be used ({history.explain(error)})."))
        try:
            failed = history.keep_up(timezone.now(), conf.RETENTION)
        except DatabaseError as error:
            failed = f"the database cannot be used ({history.explain(error)})"
        if failed:
            report.sinks.append(SinkReport("history", f"The history: {failed}"))

    def deliver(self) -> SinkReport | None:
        bounds = outbox.Bounds.of(conf.OUTBOX)
        if self.sink is None:
            outbox.drop(bounds)  # of what waits since there was one
            return None
        patience = Patience.SCHEDULE if self.by_schedule or self.loops else Patience.COMMAND
        found = forwarding.deliver(self.sink, bounds, seconds=min(forwarding.SECONDS, self.pace / 2), patience=patience)
        return telling.delivery(self.sink.name, found)

    def poll_in_loop(self) -> None:
        close_old_connections()
        try:
            self.poll_once()
        finally:
            close_old_connections()  # none is held while waiting, unless CONN_MAX_AGE says so
            self.stdout.flush()

    def say_report(self, report: RoundReport, paused: set[str]) -> None:
        if self.verbosity < 1 or not (report.services or report.sinks):
            return
        if self.loops:
            self.stdout.write(f"{timezone.localtime():%Y-%m-%d %H:%M:%S}")
        if self.dry_run:
            self.stdout.write("Dry run: nothing is stored.")
        rows: list[ServiceReport | SinkReport] = [*report.services, *report.sinks]
        width = max(len(row.name) for row in rows)
        for row in rows:
            state = self.style.SUCCESS("ok    ") if row.ok else self.style.ERROR("FAILED")
            self.stdout.write(f"{row.name:<{width}}  {state}  {telling.details(row, row.name in paused)}".rstrip())

    def say_nothing_to_do(self) -> None:
        if not Service.objects.exists():
            text = (
                "No service is registered yet. Add one in the admin (Monitoring › Services), or: manage.py import_services FILE"
            )
        elif not Service.objects.filter(enabled=True).exists():
            text = "All services are paused. Enable them in the admin, or poll one all the same with --service NAME."
        else:
            text = "No service is due now."
        if self.verbosity >= 1 and text != self.said:  # a loop says it once
            self.stdout.write(text)
        self.said = text

    def say_error(self, error: Exception) -> None:
        text = str(error) if isinstance(error, CommandError) else f"The round failed: {type(error).__name__}: {error}"
        self.stderr.write(text)
        self.stderr.flush()

    def say_stopping(self) -> None:
        self.stderr.write("Ending as soon as this round is done; a second signal ends at once.")


@contextlib.contextmanager
def _database_errors_explained() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        said = history.explain(error)
        raise CommandError(f"The database cannot be used ({said}): is it up, and has manage.py migrate been run?") from None


def _wrong_settings() -> list[str]:
    """What is wrong with settings that a round can do without. Raises CommandError for those that it cannot.

    A wrong setting counts as absent, which must not end in storing to another place, deleting what was to be kept, or polling
    what was not to be polled. A service's own setting stops no monitor. (manage.py's system checks are not enough: call_command,
    and so django-crontab, goes without.)
    """
    bearable: list[str] = []
    fatal: list[str] = []
    for problem in run_checks(tags=["monitoring"]):
        if problem.is_serious():
            (fatal if problem.id in _FATAL else bearable).append(f"{problem.msg} {problem.hint} ({problem.id})")
    if fatal:
        raise CommandError(" ".join(fatal))
    return bearable


_INFLUXDB = "monitoring.E014"
_FATAL = {f"monitoring.{number}" for number in ("E001", "E017", "E018", "E020", "E021", "E040")}


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0.")
    return seconds
