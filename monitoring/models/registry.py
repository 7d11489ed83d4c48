"""The registry: services, their instances, and how each was polled last."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from monitoring import schedule, wire

DEFAULT_TIMEOUT = 10.0


def validate_schedule(value: str) -> None:
    try:
        schedule.validate(value)
    except schedule.ScheduleError as error:
        raise ValidationError(str(error), code="schedule") from None


def validate_metrics_url(value: str) -> None:
    """Any http or https address, single-label hosts of a container network included (Django's own validator refuses these)."""
    example = "Write it as in http://shop.internal:8000/metrics."
    if not value.isprintable() or " " in value:
        raise ValidationError(f"The address holds a space or an unprintable character. {example}", code="url")
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ValidationError(f"“{value}” is not an address: {error}. {example}", code="url") from None
    if parts.scheme not in ("http", "https"):
        raise ValidationError(f"“{value}” does not start with http:// or https://. {example}", code="url")
    if not host:
        raise ValidationError(f"“{value}” names no host. {example}", code="url")
    if parts.username is not None or parts.password is not None:
        raise ValidationError("The address holds a user name or password: put the secret into “bearer token”.", code="url")
    if parts.fragment:
        raise ValidationError(f"“{value}” holds a #fragment, which is never sent. {example}", code="url")


def validate_token(value: str) -> None:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValidationError(
            "A bearer token consists of printable ASCII characters without spaces: check what was pasted.", code="token"
        )


class DurationUnit(models.TextChoices):
    """In which a service reports durations."""

    SECONDS = "s"
    MILLISECONDS = "ms"


class State(models.TextChoices):
    """How a service is, as admin, page and output say it."""

    NEW = "new"
    UP = "up"
    DOWN = "down"
    PAUSED = "paused"


class Service(models.Model):
    """What is watched under one name."""

    name = models.CharField(max_length=wire.MAX_NAME_LENGTH, unique=True)
    schedule = models.CharField(
        max_length=100,
        default=schedule.DEFAULT,
        validators=[validate_schedule],
        help_text=_("When it is polled, as a crontab expression: “* * * * *” is every minute, “*/5 * * * *” every five."),
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
    """The slot of the schedule that was served last; claimed before the poll, so that no slot is served twice."""

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def seconds_per_unit(self) -> float:
        return 0.001 if self.duration_unit == DurationUnit.MILLISECONDS else 1.0

    @property
    def state(self) -> str:
        """A value of State, from the last poll of each instance: one that failed makes the service down."""
        if not self.enabled:
            return State.PAUSED
        instances = list(self.instances.all())
        if any(instance.last_error for instance in instances):
            return State.DOWN
        if any(instance.last_polled_at is None for instance in instances) or not instances:
            return State.NEW
        return State.UP

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

    def next_due(self, now: datetime) -> datetime | None:
        """The next slot in the current time zone; None while paused."""
        return schedule.next_due(self.schedule, timezone.localtime(now)) if self.enabled else None


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
    poll_duration = models.FloatField(null=True, editable=False)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["service", "url"], name="monitoring_instance_once")]

    def __str__(self) -> str:
        return self.url

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
