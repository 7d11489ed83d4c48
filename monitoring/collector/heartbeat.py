"""What a collector tells of itself, so that admin and pages can tell whether it lives."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, IntegrityError
from django.utils import timezone

from monitoring.models import Collector

FORGOTTEN_AFTER = timedelta(days=7)
"""A collector that did not tick for so long is none any more; containers have another name each time."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Tick:
    """What is known of a tick when its round ends."""

    oldest_slot: datetime | None = None
    services: int = 0
    failed: int = 0


@contextmanager
def tick(mode: str, pace: float, host: str = "") -> Iterator[Tick]:
    """Around a round. Raises DatabaseError where not even the beginning can be noted; at the end that is only logged."""
    host = (host or socket.gethostname())[:200]
    begun, start = timezone.now(), time.monotonic()
    _note(host, mode, pace=pace, ticked_at=begun, finished_at=None)
    found, error = Tick(), ""
    try:
        yield found
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
        raise
    finally:
        behind = max(0.0, (begun - found.oldest_slot).total_seconds()) if found.oldest_slot else 0.0
        try:
            _note(
                host,
                mode,
                pace=pace,
                ticked_at=begun,
                finished_at=timezone.now(),
                duration=time.monotonic() - start,
                behind=behind,
                services=found.services,
                failed=found.failed,
                error=error[:1000],
            )
            Collector.objects.filter(ticked_at__lt=begun - FORGOTTEN_AFTER).delete()
        except DatabaseError:
            logger.exception("That a round ended could not be noted")


def _note(host: str, mode: str, **values: Any) -> None:
    """One statement, mostly. (What reads before it writes fails on SQLite as soon as another process writes.)"""
    mine = Collector.objects.filter(host=host, mode=mode)
    if not mine.update(**values):
        try:
            Collector.objects.create(host=host, mode=mode, **values)
        except IntegrityError:  # a second one on this host came first
            mine.update(**values)
