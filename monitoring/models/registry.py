"""The registry: services, their instances, and how each was polled last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import urlsplit

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from monitoring import schedule, wire
from monitoring.models.validation import validate_metrics_url, validate_schedule, validate_time_zone, validate_token

DEFAULT_TIMEOUT = 10.0

DOWN_AFTER = 3
"""Failures in a row that make an instance, and so its service, down."""


class DurationUnit(models.TextChoices):
    """In which a service reports durations."""

    SECONDS = "s"
    MILLISECONDS = "ms"


class State(models.TextChoices):
    """How a service is, as admin, page and output say it."""

    NEW = "new"
    UP = "up"
    LATE = "late"
    DOWN = "down"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Status:
    """A state, and since when."""

    state: str
    """A value of State."""
    since: datetime | None


class Service(models.Model):
    """What is watched under one name."""

    name = models.CharField(max_length=wire.MAX_NAME_LENGTH, unique=True)
    schedule = models.CharField(
        max_length=100,
        default=schedule.DEFAULT,
        validators=[validate_schedule],
        help_text=_("When it is polled, as a crontab expression: “* * * * *” is every minute, “*/5 * * * *” every five."),
    )
    time_zone = models.CharField(
        max_length=60,
        blank=True,
        validators=[validate_time_zone],
        help_text=_("In which the schedule is meant, such as Europe/Berlin; empty for the project's."),
    )
    enabled = models.BooleanField(default=True, help_text=_("Untick to pause polling; the history stays."))
    timeout = models.FloatField(
        default=DEFAULT_TIMEOUT,
        validators=[MinValueValidator(0.1), MaxValueValidator(300)],
        help_text=_("Seconds after which a poll is given up."),
    )
    token = models.CharField(_("bearer token"), max_length=500, blank=True, validators=[validate_token])
    duration_unit = models.CharField(
        max_length=2,
        choices=DurationUnit.choices,
        default=DurationUnit.SECONDS,
        help_text=_("In which the service reports durations: seconds, unless it is a Gin service that says otherwise."),
    )
    registered_at = models.DateTimeField(default=timezone.now, editable=False)
    last_slot = models.DateTimeField(null=True, editable=False)
    """The slot of the schedule that was settled last: claimed by a collector, which polls then, or given up as missed."""
    schedule_since = models.DateTimeField(null=True, editable=False)
    """When schedule, time zone or `enabled` changed last: slots before that were nobody's to serve."""
    paused_at = models.DateTimeField(null=True, editable=False)
    missed_slots = models.PositiveIntegerField(default=0, editable=False)
    """All that were ever missed."""
    last_missed_slot = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Notes when the schedule began to count, or the pause."""
        fields = kwargs.get("update_fields")
        changed = self._changed(fields)
        if changed:
            now = timezone.now()
            self.schedule_since = now
            if "enabled" in changed:
                self.paused_at = None if self.enabled else now
            if fields is not None:
                kwargs["update_fields"] = {*fields, "schedule_since", "paused_at"}
        super().save(*args, **kwargs)

    @property
    def seconds_per_unit(self) -> float:
        return 0.001 if self.duration_unit == DurationUnit.MILLISECONDS else 1.0

    def _changed(self, fields: Iterable[str] | None) -> set[str]:
        """What decides about slots and is about to be another than what is stored."""
        names = {"schedule", "time_zone", "enabled"} & (
            set(fields) if fields is not None else {"schedule", "time_zone", "enabled"}
        )
        if not names:
            return set()
        before = Service.objects.filter(pk=self.pk).values(*names).first() if self.pk else None
        if before is None:
            return set() if self.enabled else {"enabled"}
        return {name for name in names if before[name] != getattr(self, name)}

    @property
    def zone(self) -> tzinfo:
        """Raises schedule.ScheduleError where the name is none."""
        return schedule.zone(self.time_zone) if self.time_zone else timezone.get_default_timezone()

    def slots_since(self, now: datetime) -> datetime:
        """The moment up to which no slot is left to serve."""
        stamps = [one for one in (self.last_slot, self.schedule_since, self.registered_at) if one is not None]
        if max(stamps) > now + schedule.LATENESS:  # the clock was set back: what it showed before decides nothing now
            return now - timedelta(minutes=1)
        return max(stamps)

    def next_due(self, now: datetime) -> datetime | None:
        """The next slot, in the service's time zone; None while paused. Raises schedule.ScheduleError."""
        return schedule.next_due(self.schedule, now.astimezone(self.zone)) if self.enabled else None

    def late_since(self, now: datetime) -> datetime | None:
        """The slot that went by without a poll, and not just now; None where there is none: then what is known is up to date."""
        if not self.enabled or not self.instances.all():
            return None
        since = max(one for one in (self.last_polled_at, self.schedule_since, self.registered_at) if one is not None)
        try:
            due = self.next_due(since)
        except schedule.ScheduleError:  # written past the form's validation: it is never polled
            return since
        return due if due is not None and due + schedule.LATENESS < now else None

    def status(self, now: datetime) -> Status:
        """From the last polls of each instance: one that is down makes the service down."""
        if not self.enabled:
            return Status(State.PAUSED, self.paused_at)
        instances = list(self.instances.all())
        down = [one.failing_since for one in instances if one.is_down]
        if down:
            return Status(State.DOWN, min((since for since in down if since), default=None))
        late = self.late_since(now)
        if late is not None:
            return Status(State.LATE, late)
        if not instances or any(one.last_polled_at is None or one.last_success_at is None for one in instances):
            return Status(State.NEW, self.registered_at)
        return Status(State.UP, max((one.up_since for one in instances if one.up_since), default=None))

    @property
    def state(self) -> str:
        return self.status(timezone.now()).state

    @property
    def last_polled_at(self) -> datetime | None:
        return max((one.last_polled_at for one in self.instances.all() if one.last_polled_at), default=None)

    @property
    def last_error(self) -> str:
        """The errors of the instances whose last poll failed; with the instance's name where there are several."""
        instances = list(self.instances.all())
        return "; ".join(
            f"{one.label}: {one.last_error}" if len(instances) > 1 else one.last_error for one in instances if one.last_error
        )


class Instance(models.Model):
    """One address of a service that is polled, and how its last poll went."""

    service = models.ForeignKey(Service, models.CASCADE, related_name="instances")
    url = models.CharField(
        _("URL"),
        max_length=500,
        validators=[validate_metrics_url],
        help_text=_("Of its metrics document, http or https."),
    )
    registered_at = models.DateTimeField(default=timezone.now, editable=False)
    last_polled_at = models.DateTimeField(null=True, editable=False)
    last_success_at = models.DateTimeField(null=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)
    warning = models.TextField(blank=True, editable=False)
    """What is odd about a document that was read all the same."""
    failures = models.PositiveIntegerField(default=0, editable=False)
    """Polls in a row that failed."""
    failing_since = models.DateTimeField(null=True, editable=False)
    """The first of these failures."""
    up_since = models.DateTimeField(null=True, editable=False)
    """The first success since it was down, or of all."""
    poll_duration = models.FloatField(null=True, editable=False)
    recent_starts = models.JSONField(default=list, editable=False)
    """`started_at` of the documents of its last polls, in seconds since the epoch; see collector/restarts.py."""

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["service", "url"], name="monitoring_instance_once")]

    def __str__(self) -> str:
        return self.url

    @property
    def is_down(self) -> bool:
        return self.failures >= DOWN_AFTER

    @property
    def label(self) -> str:
        """host:port, the name of the instance in points and pages; the URL itself where it has none."""
        try:
            parts = urlsplit(self.url)
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        except ValueError:  # it came into the database past the forms
            return self.url


class Baseline(models.Model):
    """The document of an instance's last successful poll: the next interval is counted from it."""

    instance = models.OneToOneField(Instance, models.CASCADE, primary_key=True)
    polled_at = models.DateTimeField()
    poll_duration = models.FloatField(default=0.0)
    """Seconds from then until the document was there."""
    document = models.TextField()
    """As collector/baselines.py writes it."""

    def __str__(self) -> str:
        return f"{self.instance} at {self.polled_at:%H:%M:%S}"
