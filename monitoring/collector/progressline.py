"""How far something is, on one line of a terminal; elsewhere, in a log, a line for each tenth."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

INTERVAL = 0.2
"""Seconds between two changes of the line."""

_ERASE_REST = "\x1b[K"


class ProgressLine:
    """Percent, number, pace and the time that is left. `write` writes and flushes."""

    def __init__(
        self, write: Callable[[str], object], terminal: bool, unit: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write, self._terminal, self._unit, self._clock = write, terminal, unit, clock
        self._begun = clock()
        self._shown_at = self._begun - INTERVAL
        self._tenth = 0
        self._open = False

    def show(self, done: int, total: int, where: str = "") -> None:
        now = self._clock()
        share = min(1.0, done / total) if total else 1.0
        pace = done / max(now - self._begun, 0.001)
        text = f"{share:4.0%}  {done:,} of {max(done, total):,} {self._unit}"
        if done:
            text += f"  {pace:,.0f}/s  {duration(max(0, total - done) / pace)} left"
        if self._terminal:
            if now - self._shown_at >= INTERVAL:
                self._shown_at, self._open = now, True
                width = shutil.get_terminal_size().columns - 1
                self._write("\r" + f"{text}  {where}"[:width] + _ERASE_REST)
        elif int(share * 10) > self._tenth:
            self._tenth = int(share * 10)
            self._write(text.strip() + "\n")

    def clear(self) -> None:
        """Make place for another text."""
        if self._open:
            self._open = False
            self._write("\r" + _ERASE_REST)


def duration(seconds: float) -> str:
    """Such as 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
