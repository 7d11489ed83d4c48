"""System checks: what is wrong with the settings, with stable ids (docs/settings.md lists them)."""

from __future__ import annotations

import os
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 (Django's name)
from django.urls import reverse
from django.utils.module_loading import import_string

from monitoring import conf, service
from monitoring.conf import conf as settings
from monitoring.instrument import statedir

METRICS_MIDDLEWARE = "monitoring.middleware.MetricsMiddleware"


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
    measured = settings.ENABLED and settings.uses(METRICS_MIDDLEWARE)
    state_dir = service.request_metrics().state_dir if measured else None
    problem = None if state_dir is None else statedir.problem(state_dir)
    if problem is None:
        return []
    message = f"Request metrics are kept in each worker's memory, and /metrics tells of one worker alone: {problem}"
    return [Warning(message, hint="One worker process is fine without; several need the folder.", id="monitoring.W002")]


@register("monitoring")
def check_trace_log(**kwargs: Any) -> list[CheckMessage]:
    """The folder of the trace log; only a warning, because the service may run as another user than this command."""
    path = settings.TRACE_LOG
    folder = os.path.dirname(path) if path not in (None, "-") else None
    if folder is None or not settings.ENABLED or os.access(folder, os.W_OK | os.X_OK):
        return []
    what = "cannot be written to" if os.path.isdir(folder) else "is not there"
    message = f"MONITORING: the folder of TRACE_LOG, {folder}, {what}: the lines of the trace log are lost."
    return [Warning(message, hint="Make it, writable for the user of the service.", id="monitoring.W005")]


@register("monitoring")
def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    """A service that exposes metrics has to count them."""
    if not settings.ENABLED or settings.uses(METRICS_MIDDLEWARE) or not _exposes_metrics():
        return []
    message = "The metrics are exposed, but nothing counts requests."
    return [Warning(message, hint=f"Add {METRICS_MIDDLEWARE!r} to MIDDLEWARE, as its first entry.", id="monitoring.W003")]


@register("monitoring", deploy=True)
def check_access(**kwargs: Any) -> list[CheckMessage]:
    """In production somebody has to be able to read the metrics."""
    if not settings.ENABLED or settings.METRICS_PUBLIC or settings.METRICS_TOKEN or not _exposes_metrics():
        return []
    message = "Outside DEBUG nobody can read the metrics: /metrics answers 403."
    return [Warning(message, hint="Set MONITORING['METRICS_TOKEN'], or METRICS_PUBLIC = True.", id="monitoring.W004")]


def _exposes_metrics() -> bool:
    try:
        reverse("monitoring-metrics")
    except Exception:  # noqa: BLE001 (URLs that cannot be loaded are the error of another check)
        return False
    return True


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


@register("monitoring")
def check_exporters(**kwargs: Any) -> list[CheckMessage]:
    """Exporters whose class cannot be imported. Whether it likes its options shows when it is made."""
    found: list[CheckMessage] = []
    for exporter in settings.EXPORTERS:
        try:
            import_string(exporter.backend)
        except ImportError as error:
            found.append(
                Error(
                    f"MONITORING: the exporter {exporter.backend} cannot be imported: {error}",
                    hint="Correct its BACKEND in EXPORTERS, or install what it needs. Until then it gets no spans.",
                    id="monitoring.E034",
                )
            )
    return found


@register("monitoring")
def check_router(**kwargs: Any) -> list[CheckMessage]:
    """A database of the monitor's own is used through its router only."""
    routers = settings.database_routers
    path = "monitoring.router.MonitoringRouter"
    named = any(one == path or f"{type(one).__module__}.{type(one).__qualname__}" == path for one in routers)
    if settings.DATABASE is None or named or not apps.is_installed("monitoring"):
        return []
    return [
        Error(
            f'MONITORING["DATABASE"] is {settings.DATABASE!r}, and no router sends the monitor\'s tables there.',
            hint=f'Set DATABASE_ROUTERS = ["{path}"], then: manage.py migrate monitoring --database={settings.DATABASE}',
            id="monitoring.E021",
        )
    ]
