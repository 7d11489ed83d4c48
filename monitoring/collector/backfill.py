"""From the history to a sink: what the database holds of a stretch of time, and was not written there before.

Service by service, each in stretches in the order of time. What was written is noted in Exported, so that a repeat goes on where
the run before ended, and no moment is ever written at two resolutions, which would count it twice. A stretch in which a run was
interrupted is written once more from the same rows, and so overwrites itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from django.db.models import QuerySet
from django.utils import timezone

from monitoring.collector import stretches
from monitoring.collector.delivery import BATCH_SIZE
from monitoring.collector.retelling import Retelling
from monitoring.collector.sending import Sender
from monitoring.collector.sinks.base import Sink
from monitoring.collector.stretches import Stretch
from monitoring.models import (
    Availability,
    EndpointInterval,
    Exported,
    OutboxState,
    Resolution,
    Service,
    milliseconds,
    moment,
    waiting,
)


class BackfillError(Exception):
    """It cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Window:
    """Of what history is written, in milliseconds, and how long each resolution of it is kept."""

    after: int
    until: int
    retention: Mapping[Resolution, int]


@dataclass(slots=True)
class Progress:
    """How far an export is."""

    services: int = 0
    """In which there is something to write."""
    total: int = 0
    """Points that are to be written, as counted at the beginning."""
    points: Counter[Resolution] = field(default_factory=Counter)
    """That were sent."""
    unreadable: int = 0
    left_out: list[str] = field(default_factory=list)
    """Stretches of services that were not written, and why."""
    goes_on: bool = False
    """Something was written before."""
    service: str = ""
    """Which one is being written."""
    at: int = 0
    """Where the first one begins, in milliseconds."""

    @property
    def sent(self) -> int:
        return sum(self.points.values())


def live_since(sink: Sink) -> int:
    """From when on polls are written to this sink as they are made, in milliseconds; what waits in the outbox goes there too."""
    state = OutboxState.objects.filter(address=sink.address).first()
    since = state.since if state is not None else None
    return milliseconds(since or waiting().since or timezone.now())


def forget(address: str, services: Sequence[Service]) -> None:
    """Take what was written of these services for not written."""
    Exported.objects.filter(address=address, service__in=services).delete()


def export(
    services: Sequence[Service],
    window: Window,
    address: str,
    sender: Sender,
    tell: Callable[[Progress], None] = lambda progress: None,
    clock: Callable[[], datetime] = timezone.now,
) -> Progress:
    """Write what these services' history holds of the window and what was not written to this address; `tell` is called at times.

    Raises sending.DeliveryError, DatabaseError and BackfillError; a repeat goes on where it ended.
    """
    progress = Progress()
    exports = []
    for service in services:
        one = _Export(service, window, address, progress, clock)
        progress.goes_on |= one.settle()
        left, left_out = one.left()
        left[:0] = one.unfinished()
        points = sum(map(one.number_of_points, left))
        if points:
            if not progress.services:
                progress.service, progress.at = service.name, left[0].after
            progress.services += 1
            progress.total += points
        if points or left_out:
            exports.append(one)
    tell(progress)
    for one in exports:
        one.write(sender, tell)
    return progress


class _Export:
    """What is written of one service."""

    def __init__(self, service: Service, window: Window, address: str, progress: Progress, clock: Callable[[], datetime]) -> None:
        self._service, self._window, self._progress, self._clock = service, window, progress, clock
        self._address = address

    @property
    def _noted(self) -> QuerySet[Exported]:
        found: QuerySet[Exported] = Exported.objects.filter(address=self._address, service=self._service)
        return found

    def settle(self) -> bool:
        """Give up interrupted stretches whose rows are no longer held. Whether anything was written before."""
        lately = milliseconds(self._clock()) - Exported.HELD + stretches.MARGIN
        for row in self._noted.filter(begun_at__lte=lately):
            self._leave_out(row.until, row.begun_until or 0, "an interrupted run wrote a part, and the rows are rolled up since")
            self._close(row)
        return bool(self._noted.exists())

    def unfinished(self) -> list[Stretch]:
        """What was begun, and has to be written once more from the same rows."""
        begun = self._noted.exclude(begun_until=None)
        return [Stretch(Resolution(row.begun_resolution), row.until, row.begun_until) for row in begun.order_by("until")]

    def left(self) -> tuple[list[Stretch], list[Stretch]]:
        """What else is to be written, and what cannot be."""
        complete = stretches.borders(self._service.pk, milliseconds(self._clock()), self._window.retention)
        known = sorted((row.after, row.begun_until or row.until) for row in self._noted)
        found: list[Stretch] = []
        left_out: list[Stretch] = []
        for after, until in stretches.without(self._window.after, self._window.until, known):
            if after == self._window.after:
                before = max((one for _, one in known if one <= after), default=0)
                after = max(before, stretches.beginning(after, complete))
            told, untold = stretches.parts(after, until, complete)
            found += told
            left_out += untold
        return found, left_out

    def number_of_points(self, stretch: Stretch) -> int:
        where = stretches.rows_of(self._service.pk, stretch)
        return sum(model._default_manager.filter(where).count() for model in (Availability, EndpointInterval))

    def write(self, sender: Sender, tell: Callable[[Progress], None]) -> None:
        self._progress.service = self._service.name
        retelling = Retelling(self._service)
        for stretch in self.unfinished():
            self._write(stretch, retelling, sender, tell)
        left, left_out = self.left()
        while left:
            self._write(stretches.cut(self._service.pk, left[0]), retelling, sender, tell)
            left, left_out = self.left()
        self._progress.unreadable += retelling.unreadable
        for stretch in left_out:
            if self.number_of_points(stretches.around(stretch)):
                self._leave_out(stretch.after, stretch.until, "only rows that reach beyond it are left")

    def _write(self, stretch: Stretch, retelling: Retelling, sender: Sender, tell: Callable[[Progress], None]) -> None:
        note = self._begin(stretch)
        lines = retelling.lines(stretch)
        while batch := list(islice(lines, BATCH_SIZE)):
            sender.send(batch)
            self._progress.points[stretch.resolution] += len(batch)
            tell(self._progress)
        self._close(note)

    def _begin(self, stretch: Stretch) -> Exported:
        """Note what is going to be written."""
        note: Exported | None = self._noted.filter(until=stretch.after).first()
        if note is None:
            note = Exported(address=self._address, service=self._service, after=stretch.after, until=stretch.after)
        note.begun_until, note.begun_resolution = stretch.until, stretch.resolution
        note.begun_at = milliseconds(self._clock())
        note.save()
        return note

    def _close(self, note: Exported) -> None:
        """Note that what was begun is written."""
        same = self._noted.filter(pk=note.pk, until=note.until)
        if not same.update(until=note.begun_until, begun_until=None, begun_resolution=None, begun_at=None):
            said = f"What was written of {self._service.name} is noted otherwise by now"
            raise BackfillError(f"{said}: does another export_history run? Let it end.")

    def _leave_out(self, after: int, until: int, why: str) -> None:
        local = [f"{timezone.localtime(moment(one)):%Y-%m-%d %H:%M}" for one in (after, until)]
        self._progress.left_out.append(f"{self._service.name}, {local[0]} to {local[1]}: {why}.")
