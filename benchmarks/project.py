"""A Django project around a database file, for benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django
from django.conf import settings


def setup(path: Path, database: dict[str, Any] | None = None) -> None:
    """Configure Django with this SQLite database, as docs/history.md recommends it, or with another entry of DATABASES."""
    settings.configure(
        SECRET_KEY="benchmark",
        USE_TZ=True,
        INSTALLED_APPS=["monitoring"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={
            "default": database
            or {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": path,
                "OPTIONS": {"init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"},
            }
        },
    )
    django.setup()
