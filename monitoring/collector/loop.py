"""Repeat something until a signal says stop. Knows nothing of what it repeats."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def every(seconds: float) -> Callable[[], float]:
    """A pace: how long to wait for the next tick, counted from now on. Ticks that pass while a round runs are left out."""
    start = time.monotonic()
    return lambda: seconds - (time.monotonic() - start) % seconds


def each_minute() -> float:
    """A pace: seconds to the next full minute of the wall clock."""
    return 60 - time.time() % 60


def repeat(
    work: Callable[[], None],
    pace: Callable[[], float],
    *,
    on_error: Callable[[Exception], None],
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Do the work, wait as long as the pace says, and again, until SIGTERM or SIGINT; call it in the main thread.

    A signal while waiting ends it at once, one while working after the work (`on_stop` is called then, in the signal handler:
    keep it short). A second signal ends the process at once, with the exit code that a shell gives it, 128 + its number. An
    exception of the work goes to `on_error`, and the loop goes on.
    """
    with _stop_signals(on_stop) as stopped:
        while True:
            try:
                work()
            except Exception as error:  # noqa: BLE001 (whatever it is, the next round may go well)
                on_error(error)
            if stopped(pace()):
                return


@contextlib.contextmanager
def _stop_signals(on_stop: Callable[[], None]) -> Iterator[Callable[[float], bool]]:
    """Catch the signals; gives a function that waits some seconds, or until a signal, and tells whether there was one.

    Waiting is a select on a socket to which the handler writes, so that no signal can slip through between looking and waiting.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    caught, waiting = 0, False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        caught += 1
        if caught > 1:
            _exit_now(128 + number)
        sender.send(b"!")
        if not waiting:
            with contextlib.suppress(Exception):  # a stream refuses to be written to from within a write
                on_stop()

    def wait(seconds: float) -> bool:
        nonlocal waiting
        waiting = True
        stopped = bool(select.select([receiver], [], [], max(0.0, seconds))[0])
        waiting = False
        return stopped

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        receiver.close()
        sender.close()


def _exit_now(code: int) -> None:
    """End without waiting for anything: a transaction that is open is rolled back by its database."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
