"""The loop: paces, errors, and one signal. Two signals, and what they do to a process, are tests/live/test_loop_signals.py's."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from monitoring.collector import loop


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("now", "wait"), [(1_800_000_000.0, 60.0), (1_800_000_001.5, 58.5), (1_800_000_059.75, 0.25)])
def test_each_minute_waits_for_the_full_minute(monkeypatch: pytest.MonkeyPatch, now: float, wait: float) -> None:
    monkeypatch.setattr(loop.time, "time", Clock(now))
    assert loop.each_minute() == wait


def test_every_keeps_its_pace_and_leaves_out_ticks_that_a_long_round_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(100.0)
    monkeypatch.setattr(loop.time, "monotonic", clock)
    pace = loop.every(10)
    clock.now = 103.0
    assert pace() == 7.0
    clock.now = 135.0
    assert pace() == 5.0


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def repeat(work: Callable[[], None], pause: float = 0.0, **more: Callable[..., None]) -> list[Exception]:
    """Runs the loop here; gives the errors that it reported."""
    errors: list[Exception] = []
    loop.repeat(work, lambda: pause, on_error=errors.append, **more)
    return errors


@pytest.mark.parametrize("number", loop.SIGNALS)
def test_a_signal_ends_the_loop_after_the_round_in_which_it_comes(number: int) -> None:
    done: list[int] = []
    told: list[bool] = []

    def work() -> None:
        if len(done) == 2:
            send(number)
        done.append(1)  # after the signal: the round is finished

    assert repeat(work, on_stop=lambda: told.append(True)) == []
    assert (len(done), told) == (3, [True])


def test_a_signal_while_waiting_ends_the_loop_without_another_round() -> None:
    """The pause is longer than anybody would wait: only the signal ends it."""
    done: list[int] = []

    def work() -> None:
        done.append(1)
        threading.Timer(0.1, send, (signal.SIGTERM,)).start()

    told: list[bool] = []
    assert repeat(work, pause=3600, on_stop=lambda: told.append(True)) == []
    assert (len(done), told) == (1, [])


def test_a_round_that_fails_is_reported_and_the_next_one_comes() -> None:
    done: list[int] = []

    def work() -> None:
        done.append(1)
        if len(done) == 1:
            raise ValueError("once")
        send(signal.SIGTERM)

    errors = repeat(work)
    assert [str(error) for error in errors] == ["once"]
    assert len(done) == 2


def test_what_handled_the_signals_before_does_so_again() -> None:
    before = [signal.getsignal(number) for number in loop.SIGNALS]
    repeat(lambda: send(signal.SIGTERM))
    assert [signal.getsignal(number) for number in loop.SIGNALS] == before


def test_what_fails_in_the_handler_does_not_keep_the_loop_from_ending() -> None:
    def broken() -> None:
        raise RuntimeError("reentrant call")

    assert repeat(lambda: send(signal.SIGINT), on_stop=broken) == []
