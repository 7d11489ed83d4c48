"""What the history needs around a round: a database that waits its turn, and rollups and pruning afterwards."""

from __future__ import annotations

from datetime import datetime

from django.db import connections, router

from monitoring.collector import rollups
from monitoring.conf import Retention
from monitoring.models import Resolution, Service, milliseconds

PATIENCE = 30_000
"""Milliseconds that SQLite waits for another process's transaction; its own default of five seconds ends too many a round."""

_DAY = Resolution.DAY.length


def prepare() -> None:
    """Call it before a round, outside a transaction. Raises DatabaseError where there is no database.

    SQLite is told to wait, and put into WAL mode, in which pages can be read while the collector writes (it stays so, for all
    who use the file); a journal mode that the settings ask for is left alone.
    """
    connection = connections[router.db_for_write(Service)]
    if connection.vendor != "sqlite":
        connection.ensure_connection()
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        if cursor.fetchone()[0] < PATIENCE:
            cursor.execute(f"PRAGMA busy_timeout = {PATIENCE}")
        chosen = str(connection.settings_dict.get("OPTIONS", {}).get("init_command", ""))
        if "journal_mode" not in chosen.lower() and not connection.in_atomic_block:
            cursor.execute("PRAGMA journal_mode = WAL")


def lengths(retention: Retention) -> dict[Resolution, int]:
    """For how many milliseconds each resolution is kept."""
    return {
        Resolution.POLL: retention.polls * _DAY,
        Resolution.TEN_MINUTES: retention.ten_minutes * _DAY,
        Resolution.HOUR: retention.hours * _DAY,
        Resolution.DAY: retention.days * _DAY,
    }


def explain(error: Exception) -> str:
    """The words of an error of the database, and what to do where these say it."""
    said = f"{type(error).__name__}: {error}"
    if "disk is full" in said or "No space left on device" in said:
        return f"{said}: make room on the disk of the database"
    if "disk I/O error" in said:  # SQLite's words where there is no room to open a database in WAL mode, too
        return f"{said}: make room on the disk of the database if it is full, else see the system's log"
    return said


def keep_up(now: datetime, retention: Retention) -> str:
    """Roll up and prune what is due. An empty string, or what failed: it comes again in the next round."""
    failed = rollups.keep_up(milliseconds(now), lengths(retention))
    return "; ".join(f"{name} could not be rolled up ({error})" for name, error in failed.items())
