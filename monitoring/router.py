"""Puts the monitor's tables into the database that MONITORING["DATABASE"] names::

    DATABASE_ROUTERS = ["monitoring.router.MonitoringRouter"]
    MONITORING = {"DATABASE": "monitoring"}

All of them: what is stored of a poll, and that it was stored, belong into one transaction.
"""

from __future__ import annotations

from typing import Any

from monitoring.conf import conf

_APP = "monitoring"


class MonitoringRouter:
    """Knows the app `monitoring` only; about all others it has no opinion."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return conf.DATABASE if model._meta.app_label == _APP else None

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return self.db_for_read(model)

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool | None:
        return True if one._meta.app_label == other._meta.app_label == _APP else None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return db == conf.DATABASE if app_label == _APP and conf.DATABASE is not None else None
