"""System checks: what is wrong with the settings, with stable ids (docs/settings.md lists them)."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 (Django's name)

from monitoring import conf


@register()
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Every problem of the MONITORING dict."""
    found: list[CheckMessage] = []
    for problem in conf.problems():
        kind = Warning if problem.check_id.startswith("monitoring.W") else Error
        found.append(kind(problem.message, hint=problem.hint, id=problem.check_id))
    return found
