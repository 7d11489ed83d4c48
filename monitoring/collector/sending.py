"""Lines to a sink until it takes them: for a command that somebody waits for, and that can be run again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from monitoring.collector import delivery
from monitoring.collector.delivery import BATCH_SIZE, Refused
from monitoring.collector.sinks.base import Connection, Failure, Fault

DELAYS = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before the attempts after a failure; another one ends it."""

PATIENCE = 600.0
"""Seconds that a server may ask to wait, all in all, before it takes anything again."""

SHOWN = 5
"""Refused lines that are kept, to be shown."""


class DeliveryError(Exception):
    """The sink does not take the lines; the message says why and what to do."""


class Sender:
    """Sends lines in order, and counts them."""

    def __init__(
        self,
        connection: Connection,
        on_wait: Callable[[str, float], None] = lambda reason, seconds: None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.written = 0
        self.refused = 0
        self.examples: list[Refused] = []
        self._connection = connection
        self._on_wait, self._wait = on_wait, wait
        self._size = BATCH_SIZE
        self._spare_requests = delivery.MAX_REQUESTS  # to find refused lines with, in all of the export

    def send(self, lines: Sequence[str]) -> None:
        """Send these, refused ones aside, waiting where that may help. Raises DeliveryError."""
        failures, waited = 0, 0.0
        while lines:
            needed = -(-len(lines) // self._size)
            done = delivery.deliver(self._connection, lines, self._size, needed + self._spare_requests)
            self._spare_requests = max(0, self._spare_requests - max(0, done.requests - needed))
            self.written += done.written
            self._set_aside(done.refused)
            if done.written or done.refused:
                failures, waited = 0, 0.0
            self._size = delivery.next_size(self._size, done)
            if done.failure is None:
                return
            lines = done.rest
            seconds = self._delay(done.failure, failures, waited)
            self._on_wait(done.failure.reason, seconds)
            self._wait(seconds)
            failures, waited = failures + 1, waited + seconds

    def _set_aside(self, refused: Sequence[Refused]) -> None:
        for one in refused:
            self.refused += len(one.lines)
            if len(self.examples) < SHOWN:
                self.examples.append(Refused(one.lines[:1], one.words))

    def _delay(self, failure: Failure, failures: int, waited: float) -> float:
        if failure.fault is Fault.SETTING:
            raise DeliveryError(failure.reason)
        if failure.retry_after is not None:
            if waited + failure.retry_after > PATIENCE:
                raise DeliveryError(failure.reason)
            return max(DELAYS[0], failure.retry_after)
        if failures >= len(DELAYS):
            raise DeliveryError(f"{failure.reason} It was tried {failures + 1} times.")
        return DELAYS[failures]
