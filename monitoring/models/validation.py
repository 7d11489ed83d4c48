"""What the registry accepts, each refusal with a sentence that says what to write instead."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

from monitoring import schedule


def validate_schedule(value: str) -> None:
    try:
        schedule.validate(value)
    except schedule.ScheduleError as error:
        raise ValidationError(str(error), code="schedule") from None


def validate_time_zone(value: str) -> None:
    try:
        schedule.zone(value)
    except schedule.ScheduleError as error:
        raise ValidationError(str(error), code="time_zone") from None


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
