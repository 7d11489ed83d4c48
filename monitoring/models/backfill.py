"""How much of the history was written to an InfluxDB by manage.py export_history."""

from __future__ import annotations

from django.db import models

from monitoring.models.history import Resolution, moment
from monitoring.models.registry import Service


class Exported(models.Model):
    """A stretch of a service's history that was written: what ends after one moment and not after the other, in milliseconds.

    Stretches of one service and address do not overlap. What is written next is noted before: where that is interrupted, a part
    of it may be there, so that it has to be written once more from the same rows, which are held for a while.
    """

    HELD = 7 * Resolution.DAY.length
    """Milliseconds for which the rows of an interrupted stretch are not pruned."""

    address = models.CharField(max_length=600)
    """Where to, without credentials, as OutboxState has it."""
    service = models.ForeignKey(Service, models.CASCADE, related_name="+")
    after = models.BigIntegerField()
    until = models.BigIntegerField()
    begun_until = models.BigIntegerField(null=True)
    """What follows was begun, up to here."""
    begun_resolution = models.IntegerField(null=True)
    begun_at = models.BigIntegerField(null=True)
    """When, in milliseconds."""

    def __str__(self) -> str:
        return f"{self.service}: {moment(self.after):%Y-%m-%d %H:%M} to {moment(self.until):%Y-%m-%d %H:%M}"
