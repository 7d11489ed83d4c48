"""The monitor's own life: collectors that tick, and restarts of what is watched."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models

from monitoring.models.registry import Instance, Service

SILENT_TICKS = 3
"""Ticks that a collector may leave out until it counts as gone."""

LONGEST_ROUND = timedelta(minutes=10)
"""How long a round may take until its collector counts as gone: twice the longest timeout of a service."""


class Collector(models.Model):
    """A collector: one machine that polls, by cron or in a loop, and how its last tick went."""

    host = models.CharField(max_length=200)
    mode = models.CharField(max_length=10)
    """`cron` or `loop`."""
    pace = models.FloatField()
    """Seconds from tick to tick."""
    ticked_at = models.DateTimeField()
    """When the last tick began."""
    finished_at = models.DateTimeField(null=True)
    """When its round ended; None while it goes on."""
    duration = models.FloatField(null=True)
    """Seconds that the last round that ended took."""
    behind = models.FloatField(default=0.0)
    """Seconds from the oldest slot of the last tick to its polls."""
    services = models.PositiveIntegerField(default=0)
    """Polled in the last round that ended."""
    failed = models.PositiveIntegerField(default=0)
    """Of these, how many polls failed."""
    error = models.TextField(blank=True)
    """Why the last round failed as a whole."""

    class Meta:
        ordering = ["-ticked_at"]
        constraints = [models.UniqueConstraint(fields=["host", "mode"], name="monitoring_collector_once")]

    def __str__(self) -> str:
        return f"{self.host} ({self.mode})"

    def is_alive(self, now: datetime) -> bool:
        """Whether it ticks as it should, or works on a round."""
        if self.finished_at is None and now - self.ticked_at <= LONGEST_ROUND:
            return True
        last = max(self.ticked_at, self.finished_at or self.ticked_at)
        return now - last <= SILENT_TICKS * timedelta(seconds=max(self.pace, 60.0))


class Restart(models.Model):
    """An instance counts from zero since then: it was deployed, restarted, or it crashed."""

    service = models.ForeignKey(Service, models.CASCADE, related_name="restarts")
    instance = models.ForeignKey(Instance, models.CASCADE, related_name="+")
    at = models.DateTimeField()
    """When it started, as it says itself, or else, where that cannot be, the poll that found it restarted."""
    started_at = models.DateTimeField(null=True)
    """As it says itself."""

    class Meta:
        ordering = ["-at"]
        indexes = [models.Index(fields=["service", "at"], name="monitoring_restart_service")]

    def __str__(self) -> str:
        return f"{self.instance} at {self.at:%Y-%m-%d %H:%M:%S}"
