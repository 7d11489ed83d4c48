"""Moments, as the admin's pages show them."""

from __future__ import annotations

from datetime import datetime

from django.utils import formats, timezone


def stamp(moment: datetime | None) -> str:
    """In the current time zone, to the second; a dash where there is none."""
    return "–" if moment is None else formats.date_format(timezone.localtime(moment), "Y-m-d H:i:s")
