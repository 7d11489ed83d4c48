"""What breaks in here is said once in the log, and never reaches the application."""

from __future__ import annotations

import logging

logger = logging.getLogger("monitoring")

_said: set[str] = set()


def say_once(what: str, error: BaseException) -> None:
    """`what` is a sentence without its full stop; the traceback goes with it."""
    if what not in _said:
        _said.add(what)
        logger.error("%s", what, exc_info=error)
