"""System checks: what is wrong with the settings, with stable ids (docs/settings.md lists them)."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 (Django's name)

from monitoring import conf, service
from monitoring.conf import conf as settings
from monitoring.instrument import folder


@register("monitoring")
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Every problem of the MONITORING dict."""
    found: list[CheckMessage] = []
    for problem in conf.problems():
        kind = Warning if problem.check_id.startswith("monitoring.W") else Error
        found.append(kind(problem.message, hint=problem.hint, id=problem.check_id))
    return found


@register("monitoring")
def check_state_dir(**kwargs: Any) -> list[CheckMessage]:
    """The folder that worker processes share; without it each counts for itself."""
    measured = settings.ENABLED and settings.uses("monitoring.middleware.MetricsMiddleware")
    state_dir = service.request_metrics().state_dir if measured else None
    problem = None if state_dir is None else folder.problem(state_dir)
    if problem is None:
        return []
    message = f"Request metrics are kept in each worker's memory, and /metrics tells of one worker alone: {problem}"
    return [Warning(message, hint="One worker process is fine without; several need the folder.", id="monitoring.W002")]


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
