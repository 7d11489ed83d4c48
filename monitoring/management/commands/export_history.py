"""manage.py export_history: write the history that the database holds to an InfluxDB that was configured later."""

from __future__ import annotations

import re
import time
from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime, timedelta
from typing import Any

from django.core.checks import run_checks
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from monitoring.collector import backfill, due, history, sinks
from monitoring.collector.backfill import BackfillError, Progress, Window
from monitoring.collector.progressline import ProgressLine, duration
from monitoring.collector.sending import DeliveryError, Sender
from monitoring.collector.sinks.base import Sink
from monitoring.conf import conf
from monitoring.models import Resolution, Service, milliseconds, moment

GOES_ON = "The same command goes on where this one ended."


class Command(BaseCommand):
    requires_system_checks = ()
    help = (
        "Writes the history that the database holds to InfluxDB (MONITORING['INFLUXDB']), each part of it once: run it again"
        " after an interruption, or with an earlier --since, and it writes what is missing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--since",
            required=True,
            type=_when,
            metavar="WHEN",
            help="Where to begin: a date or time (2026-01-31, 2026-01-31T12:00) in the project's time zone, or how long ago"
            " (30d, 12h, 2w).",
        )
        parser.add_argument(
            "--until", type=_when, metavar="WHEN", help="Where to end. Default: from when on polls went there as they were made."
        )
        parser.add_argument("--service", action="append", metavar="NAME", help="Only this service; repeatable.")
        parser.add_argument(
            "--restart",
            action="store_true",
            help="Write what was written before once more: for an InfluxDB that was emptied or restored.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        sink, self.verbosity = _sink(), options["verbosity"]
        try:
            history.prepare()
            services = due.selected_services(options["service"]) if options["service"] else list(Service.objects.all())
            window = _window(options["since"], options["until"], sink)
            if options["restart"]:
                backfill.forget(sink.address, services)
            self.export(sink, services, window)
        except due.UnknownServiceError as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            said = f"The database cannot be used ({error}): is it up, and has manage.py migrate been run?"
            raise CommandError(f"{said} {GOES_ON}") from None

    def export(self, sink: Sink, services: list[Service], window: Window) -> None:
        begun = time.monotonic()
        self.line = ProgressLine(self.write, self.stdout.isatty(), "points")
        self.told = self.verbosity < 1
        with sink.open() as connection:
            sender = Sender(connection, self.say_waiting)
            try:
                progress = backfill.export(services, window, sink.address, sender, self.tell)
            except (DeliveryError, BackfillError) as error:
                raise CommandError(f"{error} {_written(sender)} {GOES_ON}") from None
            except KeyboardInterrupt:
                raise CommandError(f"Interrupted. {_written(sender)} {GOES_ON}", returncode=130) from None
            finally:
                self.line.clear()
        self.sum_up(progress, sender, time.monotonic() - begun)
        if sender.refused:
            raise CommandError(f"InfluxDB refused {sender.refused:,} points; they are not sent again.")

    def write(self, text: str) -> None:
        self.stdout.write(text, ending="")
        self.stdout.flush()

    def tell(self, progress: Progress) -> None:
        if not self.told:
            self.told = True
            self.say_beginning(progress)
        if self.verbosity >= 1 and progress.total:
            self.line.show(progress.sent, progress.total, progress.service)

    def say_beginning(self, progress: Progress) -> None:
        if not progress.total:
            already = " that was not written before (--restart writes it once more)" if progress.goes_on else ""
            self.stdout.write(f"The history holds nothing of this time{already}.")
        elif progress.goes_on:
            self.stdout.write(f"Going on with {progress.service}, from {_local(progress.at)}: what is before it was written.")

    def say_waiting(self, reason: str, seconds: float) -> None:
        self.line.clear()
        self.stderr.write(f"{reason} Trying again in {duration(seconds)}.")

    def sum_up(self, progress: Progress, sender: Sender, seconds: float) -> None:
        for one in progress.left_out:
            self.stderr.write(f"Left out: {one}")
        if progress.unreadable:
            self.stderr.write(f"{progress.unreadable:,} rows of the history cannot be read and were left out.")
        for refused in sender.examples:
            self.stderr.write(f"Refused ({refused.words}): {refused.lines[0][:300]}")
        if self.verbosity < 1 or not progress.sent:
            return
        pace = sender.written / max(seconds, 0.001)
        of = ", ".join(f"{number:,} of {_OF[resolution]}" for resolution, number in sorted(progress.points.items()))
        services = "1 service" if progress.services == 1 else f"{progress.services:,} services"
        self.stdout.write(f"{_written(sender)[:-1]} in {duration(seconds)}, {pace:,.0f} a second: {services}, {of}.")


_OF = {Resolution.POLL: "polls", Resolution.TEN_MINUTES: "10 minutes", Resolution.HOUR: "hours", Resolution.DAY: "days"}


def _written(sender: Sender) -> str:
    return f"{sender.written:,} points were written."


def _local(stamp: int) -> str:
    return f"{timezone.localtime(moment(stamp)):%Y-%m-%d %H:%M:%S}"


def _sink() -> Sink:
    sink = sinks.configured(conf.INFLUXDB)
    if sink is None:
        problems = run_checks(tags=["monitoring"])
        wrong = [f"{problem.msg} {problem.hint}" for problem in problems if problem.id == "monitoring.E014"]
        unset = 'No InfluxDB is configured: set MONITORING["INFLUXDB"] to {"URL": ..., "TOKEN": ..., "ORG": ..., "BUCKET": ...}.'
        raise CommandError(" ".join(wrong) or unset)
    return sink


def _window(since: datetime, until: datetime | None, sink: Sink) -> Window:
    """Raises CommandError."""
    # A poll of the moment from which on they went there is there already.
    end = (backfill.live_since(sink) if until is None else milliseconds(until)) - 1
    begin = max(0, milliseconds(since) - 1)
    if begin >= end:
        said = "--until" if until is not None else "when polls began to go there as they were made, and nothing is left to write"
        raise CommandError(f"--since ({_local(begin + 1)}) is not before {_local(end + 1)}, {said}.")
    return Window(begin, end, history.lengths(conf.RETENTION))


_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def _when(text: str) -> datetime:
    """A date, a datetime, or how long ago."""
    try:
        if ago := re.fullmatch(r"(\d{1,6})([mhdw])", text):
            return timezone.now() - int(ago[1]) * _UNITS[ago[2]]
        found = parse_datetime(text)
        if found is None and (day := parse_date(text)) is not None:
            found = datetime(day.year, day.month, day.day)
        if found is not None:
            return found if timezone.is_aware(found) else timezone.make_aware(found)
    except (ValueError, OverflowError) as error:  # a month 13, or before the calendar begins
        raise ArgumentTypeError(f"{text!r} is no date ({error}).") from None
    raise ArgumentTypeError(
        f"{text!r} is neither a date or time such as 2026-01-31 or 2026-01-31T12:00, nor one such as 30d ago."
    )
