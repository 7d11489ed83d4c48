"""Lines to a sink that does not take them at once: waiting, halving, setting aside, giving up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from monitoring.collector.sending import DELAYS, PATIENCE, DeliveryError, Sender
from monitoring.collector.sinks.base import Failure, Fault

LINES = [f"line {number}" for number in range(300)]
DOWN = Failure(Fault.UNREACHABLE, "It is down.")


class Sink:
    """Takes what its judge finds no fault with."""

    def __init__(self, judge: Callable[[Sequence[str]], Failure | None]) -> None:
        self.judge = judge
        self.taken: list[str] = []
        self.waits: list[float] = []
        self.sender = Sender(self, wait=self.waits.append)

    def send(self, lines: Sequence[str]) -> Failure | None:
        failure = self.judge(lines)
        if failure is None:
            self.taken += lines
        return failure


def failing(*failures: Failure | None) -> Sink:
    """Gives these answers, then takes everything."""
    left = list(failures)
    return Sink(lambda lines: left.pop(0) if left else None)


def test_a_failure_that_passes_costs_nothing() -> None:
    sink = failing(DOWN, DOWN, Failure(Fault.SLOW, "It is slow."), DOWN)
    sink.sender.send(LINES)
    assert sink.taken == LINES
    assert sink.waits == list(DELAYS[:4])
    assert sink.sender.written == len(LINES)


def test_one_that_stays_ends_it_with_its_words() -> None:
    sink = failing(*[DOWN] * 100)
    with pytest.raises(DeliveryError, match=r"^It is down\. It was tried 6 times\.$"):
        sink.sender.send(LINES)
    assert sink.waits == list(DELAYS)


def test_failures_between_batches_that_are_taken_are_new_ones() -> None:
    sink = failing(*([DOWN] * 5 + [None]) * 4)
    for _ in range(4):
        sink.sender.send(LINES)
    assert sink.taken == LINES * 4


def test_a_wrong_setting_is_told_at_once() -> None:
    sink = failing(Failure(Fault.SETTING, "Check the token."))
    with pytest.raises(DeliveryError, match="Check the token"):
        sink.sender.send(LINES)
    assert sink.waits == []


def test_the_server_says_how_long_to_wait() -> None:
    sink = failing(Failure(Fault.UNREACHABLE, "Busy.", retry_after=40.0), Failure(Fault.UNREACHABLE, "Busy.", retry_after=0.0))
    sink.sender.send(LINES)
    assert sink.waits == [40.0, 1.0]
    assert sink.taken == LINES


def test_but_not_for_ever() -> None:
    sink = failing(*[Failure(Fault.UNREACHABLE, "Busy.", retry_after=PATIENCE / 2)] * 3)
    with pytest.raises(DeliveryError, match="Busy"):
        sink.sender.send(LINES)
    assert sink.waits == [PATIENCE / 2] * 2


def test_what_is_refused_is_found_and_shown_and_the_rest_arrives() -> None:
    bad = {"line 17", "line 200"}
    sink = Sink(lambda lines: Failure(Fault.POINTS, "Refused.", "bad type") if bad & set(lines) else None)
    sink.sender.send(LINES)
    assert sink.taken == [line for line in LINES if line not in bad]
    assert (sink.sender.written, sink.sender.refused) == (298, 2)
    assert {(one.lines, one.words) for one in sink.sender.examples} == {((line,), "bad type") for line in bad}


def test_where_nearly_all_are_bad_not_each_is_looked_for() -> None:
    requests = []

    def judge(lines: Sequence[str]) -> Failure | None:
        requests.append(len(lines))
        return Failure(Fault.POINTS, "Refused.", "bad type")

    sink = Sink(judge)
    for _ in range(20):
        sink.sender.send(LINES)
    assert sink.sender.refused == 20 * len(LINES)
    assert len(requests) < 600
    assert len(sink.sender.examples) == 5


def test_too_large_is_halved_and_stays_so() -> None:
    sizes: list[int] = []

    def judge(lines: Sequence[str]) -> Failure | None:
        sizes.append(len(lines))
        return Failure(Fault.SIZE, "Too large.") if len(lines) > 80 else None

    sink = Sink(judge)
    sink.sender.send(LINES)
    assert sink.taken == LINES
    first = len(sizes)
    sink.sender.send(LINES)
    assert sink.taken == LINES * 2
    assert max(sizes[first:]) <= 2 * 80


def test_slow_is_asked_for_less_and_then_for_more() -> None:
    sink = failing(Failure(Fault.SLOW, "It is slow."))
    many = [str(number) for number in range(5000)]
    sink.sender.send(many)
    assert sink.taken == many
    for _ in range(20):
        sink.sender.send(many)
    sizes: list[int] = []
    sink.judge = lambda lines: sizes.append(len(lines))
    sink.sender.send(many)
    assert sizes == [5000]
