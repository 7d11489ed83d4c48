"""The history: what happened in each interval, as polled and rolled up. docs/history.md gives the reasons with their figures.

Moments are whole milliseconds since the epoch, and histograms and status codes are bytes (monitoring/packing.py): of all that was
measured this is the smallest and the fastest to add up. Rows are only ever added and deleted, never changed.
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta, timezone

from django.db import models

from monitoring import wire
from monitoring.models.registry import Service

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(at: datetime) -> int:
    """The moment as the history keeps it."""
    return (at - _EPOCH) // _MILLISECOND


def moment(stamp: int) -> datetime:
    """The moment that the history keeps as this many milliseconds."""
    return _EPOCH + stamp * _MILLISECOND


class Resolution(enum.IntEnum):
    """How much time one row stands for, in seconds. Rollups begin and end at multiples of it since the epoch, in UTC."""

    POLL = 0
    TEN_MINUTES = 600
    HOUR = 3600
    DAY = 86400

    @property
    def finer(self) -> Resolution:
        """The resolution whose rows this one adds up."""
        return _ALL[_ALL.index(self) - 1]

    @property
    def coarser(self) -> Resolution:
        """The resolution that adds up this one's rows."""
        return _ALL[_ALL.index(self) + 1]

    @property
    def column(self) -> str:
        """Its field of RolledUp."""
        return self.name.lower()

    @property
    def length(self) -> int:
        """In milliseconds."""
        return 1000 * int(self)


_ALL = tuple(Resolution)
ROLLUPS = (Resolution.TEN_MINUTES, Resolution.HOUR, Resolution.DAY)
"""From fine to coarse."""


class Endpoint(models.Model):
    """One method + route of a service."""

    service = models.ForeignKey(Service, models.CASCADE, related_name="endpoints")
    method = models.CharField(max_length=16)
    route = models.CharField(max_length=wire.MAX_ROUTE_LENGTH)

    class Meta:
        ordering = ["route", "method"]
        constraints = [models.UniqueConstraint(fields=["service", "method", "route"], name="monitoring_endpoint_once")]

    def __str__(self) -> str:
        return f"{self.method}{self.route}"


class RolledUp(models.Model):
    """Up to when a service's history is rolled up: rows that end later are in no rollup yet. In milliseconds.

    What is stored with an earlier end (a clock that was set back, a slow second collector) is stored as rollups too.
    """

    service = models.OneToOneField(Service, models.CASCADE, primary_key=True, related_name="rolled_up")
    ten_minutes = models.BigIntegerField()
    hour = models.BigIntegerField()
    day = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.service} up to {moment(self.ten_minutes):%Y-%m-%d %H:%M}"

    def until(self, resolution: Resolution) -> int:
        return int(getattr(self, resolution.column))


class Row(models.Model):
    """What all tables of the history share, in the order of their index: one service, one resolution, a stretch of time.

    There may be several rows of one instance and time: readers add up. An instance's number stays when the instance is
    deleted, and is never given to another.
    """

    service = models.ForeignKey(Service, models.CASCADE, related_name="+", db_index=False)
    resolution = models.IntegerField(default=Resolution.POLL.value)
    end = models.BigIntegerField()
    """Of the last interval in it, where it is a rollup."""
    instance_id = models.BigIntegerField()

    class Meta:
        abstract = True
        indexes = [models.Index(fields=["service", "resolution", "end"], name="%(app_label)s_%(class)s_ix")]

    def __str__(self) -> str:
        return f"{self.service}: {Resolution(self.resolution).name.lower()} to {moment(self.end):%Y-%m-%d %H:%M:%S}"


class Counts(Row):
    """Numbers of requests. Durations in seconds."""

    count = models.BigIntegerField()
    errors = models.BigIntegerField()
    """Answers with a status of 500 and above."""
    duration_sum = models.FloatField()
    duration_max = models.FloatField(null=True)
    status_codes = models.BinaryField()
    """As packing.pack_codes() gives them."""
    buckets = models.BinaryField(null=True)
    """As packing.pack_buckets() gives them; None where the service reports no histogram."""

    class Meta(Row.Meta):
        abstract = True


class Interval(Counts):
    """What happened at an instance between two polls, all endpoints together; there even where nothing happened."""

    covered = models.BigIntegerField()
    """Milliseconds from its start to its end; of a rollup the sum. Rates divide by it."""
    restarts = models.IntegerField(default=0)
    """How often the instance was found restarted."""


class EndpointInterval(Counts):
    """The share of one endpoint, where it had any. `end` is that of the Interval which it is a part of."""

    endpoint = models.ForeignKey(Endpoint, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False)
    """Deleted together with its service only, which takes this row as well."""


class Availability(Row):
    """Whether an instance answered: one poll of it, or all in a stretch of time. Seconds."""

    polls = models.IntegerField()
    failures = models.IntegerField()
    duration_sum = models.FloatField()
    """Of all polls, those that failed included."""
    duration_max = models.FloatField()
