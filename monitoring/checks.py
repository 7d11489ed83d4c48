"""System checks: what is wrong with the settings, with stable ids (docs/settings.md lists them)."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 (Django's name)

from monitoring import conf
from monitoring.conf import conf as settings


@register("monitoring")
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Every problem of the MONITORING dict."""
    found: list[CheckMessage] = []
    for problem in conf.problems():
        kind = Warning if problem.check_id.startswith("monitoring.W") else Error
        found.append(kind(problem.message, hint=problem.hint, id=problem.check_id))
    return found


@register("monitoring")
def check_time_zones(**kwargs: Any) -> list[CheckMessage]:
    """The monitor keeps moments, and schedules that are evaluated in a time zone."""
    if not apps.is_installed("monitoring") or settings.use_tz:
        return []
    return [
        Error(
            "The monitor needs time zones, and USE_TZ is False.",
            hint="Set USE_TZ = True; TIME_ZONE is the zone in which schedules are evaluated.",
            id="monitoring.E020",
        )
    ]
