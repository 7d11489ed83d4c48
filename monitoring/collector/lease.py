"""The right to deliver from the outbox, which one collector has at a time, and the state that goes with it."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta

from django.db import IntegrityError, router, transaction
from django.db.models import Q
from django.utils import timezone

from monitoring.models import OutboxState

LENGTH = timedelta(seconds=60)
"""For how long, beside the time that a request may take, a collector that says nothing counts as delivering: one that was killed
says nothing."""


def state() -> OutboxState:
    """The one row, made where it is not there yet. Raises DatabaseError."""
    found: OutboxState | None = OutboxState.objects.filter(pk=OutboxState.ONLY).first()
    if found is None:
        with contextlib.suppress(IntegrityError), transaction.atomic(using=router.db_for_write(OutboxState)):
            OutboxState.objects.create(pk=OutboxState.ONLY)  # another collector may be first
        found = OutboxState.objects.get(pk=OutboxState.ONLY)
    return found


class Lease:
    """The right to deliver, for as long as it is said again in time."""

    def __init__(self, holder: str, length: timedelta) -> None:
        self._holder, self._length = holder, length
        self._said = time.monotonic()

    def renew(self) -> bool:
        """Say it again where it is time to; whether the right is still there."""
        return time.monotonic() - self._said < LENGTH.total_seconds() / 6 or self.update()

    def update(self, **values: object) -> bool:
        """Change the state, and say it again. False where another collector has the right by now; nothing is changed then."""
        self._said = time.monotonic()
        mine = OutboxState.objects.filter(pk=OutboxState.ONLY, holder=self._holder)
        return bool(mine.update(held_until=timezone.now() + self._length, **values))


@contextlib.contextmanager
def taken(request: float = 0.0) -> Iterator[Lease | None]:
    """The right to deliver, or None where another collector has it. state() has been called before.

    A request takes so many seconds at most, during which nothing can be said.
    """
    length = LENGTH + timedelta(seconds=request)
    now, holder = timezone.now(), uuid.uuid4().hex
    # The last one: of a clock that was set back.
    free = Q(held_until=None) | Q(held_until__lt=now) | Q(held_until__gt=now + 2 * length)
    if not OutboxState.objects.filter(free, pk=OutboxState.ONLY).update(holder=holder, held_until=now + length):
        yield None
        return
    try:
        yield Lease(holder, length)
    finally:
        OutboxState.objects.filter(pk=OutboxState.ONLY, holder=holder).update(holder="", held_until=None)
