"""The outbox: points that InfluxDB has not taken yet, those that it refused, and how delivering them goes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import models
from django.db.models import Min, Sum

from monitoring.models.history import moment


def pack_lines(lines: Iterable[str]) -> bytes:
    """Lines as they are kept: a third to a seventh of their size for a microsecond each."""
    return zlib.compress("\n".join(lines).encode(), 1)


def unpack_lines(packed: bytes) -> list[str]:
    """The lines of pack_lines(). Raises ValueError where that did not make these bytes."""
    try:
        return zlib.decompress(packed).decode().split("\n")
    except zlib.error as error:
        raise ValueError(f"the lines cannot be read ({error})") from None


class WaitingPoints(models.Model):
    """Points of one service's polls that were stored together. They are delivered in the order of their keys."""

    created_at = models.BigIntegerField()
    """When they were polled, in milliseconds since the epoch."""
    points = models.IntegerField()
    size = models.IntegerField()
    """Of `lines`, in bytes."""
    lines = models.BinaryField()
    """Line protocol, as pack_lines() gives it."""

    class Meta:
        ordering = ["pk"]
        # What waits is added up from the index alone, without the lines: at each round, and for each page.
        indexes = [models.Index(fields=["created_at", "points", "size"], name="monitoring_waiting_ix")]

    def __str__(self) -> str:
        return f"{self.points} points"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in the outbox, added up."""

    points: int = 0
    size: int = 0
    """Bytes."""
    since: datetime | None = None
    """When the oldest of it was polled."""


def waiting() -> Waiting:
    """What waits in the outbox at this moment."""
    found = WaitingPoints.objects.order_by().aggregate(points=Sum("points"), size=Sum("size"), since=Min("created_at"))
    return Waiting(found["points"] or 0, found["size"] or 0, None if found["since"] is None else moment(found["since"]))


class RejectedPoints(models.Model):
    """Points that the server refused, set aside with its words."""

    rejected_at = models.DateTimeField()
    words = models.TextField()
    points = models.IntegerField()
    lines = models.BinaryField()
    """As in WaitingPoints."""

    class Meta:
        ordering = ["-pk"]
        verbose_name = "rejected points"
        verbose_name_plural = "rejected points"

    def __str__(self) -> str:
        return f"{self.points} points, rejected at {self.rejected_at:%Y-%m-%d %H:%M}"


class OutboxState(models.Model):
    """How delivering goes. There is one row, which the first delivery makes."""

    ONLY = 1
    """Its primary key."""

    sink = models.CharField(max_length=50, blank=True)
    address = models.CharField(max_length=600, blank=True)
    """Where points go, without credentials."""
    since = models.DateTimeField(null=True)
    """Since when they go there: what is older was never sent to this address."""
    holder = models.CharField(max_length=40, blank=True)
    """The collector that delivers at this moment, and alone."""
    held_until = models.DateTimeField(null=True)
    """Until when it does, unless it says so again: one that was killed does not."""
    failures = models.PositiveIntegerField(default=0)
    """Attempts in a row that failed."""
    failing_since = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    """Why the last attempt failed; empty where it did not."""
    retry_at = models.DateTimeField(null=True)
    """When the next attempt is made."""
    asked_to_wait = models.BooleanField(default=False)
    """It was the server that said so."""
    batch_size = models.PositiveIntegerField(default=0)
    """Lines that go into one request; 0 where all are allowed."""
    delivered_at = models.DateTimeField(null=True)
    """When points were taken last."""
    delivered = models.BigIntegerField(default=0)
    """Points that were taken, ever."""
    dropped = models.BigIntegerField(default=0)
    """Points that were given up, as the outbox was full or they were too old."""
    dropped_at = models.DateTimeField(null=True)
    rejected = models.BigIntegerField(default=0)
    """Points that were refused, ever."""

    class Meta:
        verbose_name = "outbox"
        verbose_name_plural = "outbox"

    def __str__(self) -> str:
        return f"Outbox of {self.address}" if self.address else "Outbox"
