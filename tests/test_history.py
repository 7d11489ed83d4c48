"""What the history needs around a round."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper

from monitoring.collector import history, rollups
from monitoring.collector.history import PATIENCE, keep_up, prepare
from monitoring.conf import Retention
from monitoring.models import Resolution, RolledUp, Service, milliseconds

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def opened(path: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> tuple[int, str]:
    """Busy timeout and journal mode of a new database once the collector has prepared it."""
    settings = {**connections["default"].settings_dict, "NAME": str(path / "x.sqlite3"), "OPTIONS": options}
    connection = DatabaseWrapper(settings, "default")
    monkeypatch.setattr(history, "connections", {"default": connection})
    try:
        prepare()
        with connection.cursor() as cursor:
            found = [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("busy_timeout", "journal_mode")]
        return found[0], found[1]
    finally:
        connection.close()


@pytest.mark.django_db
def test_sqlite_waits_and_lets_pages_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(tmp_path, monkeypatch) == (PATIENCE, "wal")


@pytest.mark.django_db
def test_what_the_settings_ask_for_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: dict[str, Any] = {"timeout": 90, "init_command": "PRAGMA journal_mode = TRUNCATE"}
    assert opened(tmp_path, monkeypatch, **chosen) == (90_000, "truncate")


@pytest.mark.django_db
def test_what_cannot_be_rolled_up_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "keep_up", lambda now, retention: {"shop": "OperationalError: database or disk is full"})
    assert keep_up(NOW, Retention()) == "shop could not be rolled up (OperationalError: database or disk is full)"
    with pytest.raises(CommandError, match="The history: shop could not be rolled up"):
        call_command("collect_metrics", due=True)


@pytest.mark.django_db
def test_days_are_days(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(rollups, "keep_up", lambda now, retention: asked.append((now, retention)) or {})
    keep_up(NOW, Retention(1, 2, 3, 4))
    assert asked == [(milliseconds(NOW), {one: (days + 1) * 86_400_000 for days, one in enumerate(Resolution)})]


@pytest.mark.django_db
def test_the_command_rolls_up_when_nothing_is_due_too() -> None:
    service = Service.objects.create(name="shop", enabled=False)
    then = milliseconds(datetime.now(timezone.utc) - timedelta(hours=3))
    RolledUp.objects.create(service=service, ten_minutes=then, hour=then, day=then)
    call_command("collect_metrics", due=True, dry_run=True, verbosity=0)
    assert RolledUp.objects.get().ten_minutes == then
    call_command("collect_metrics", due=True, verbosity=0)
    assert RolledUp.objects.get().ten_minutes > then
