from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from monitoring.collector import delivery
from monitoring.collector.sinks.base import Failure, Fault

LINES = [f"point {number}" for number in range(5000)]


class Judge:
    """Takes what a function finds nothing wrong with, and remembers it."""

    def __init__(self, judge: Callable[[Sequence[str]], Failure | None]) -> None:
        self.judge = judge
        self.taken: list[str] = []
        self.sizes: list[int] = []

    def send(self, lines: Sequence[str]) -> Failure | None:
        self.sizes.append(len(lines))
        failure = self.judge(lines)
        if failure is None:
            self.taken += lines
        return failure


def refusing(*bad: str) -> Judge:
    def judge(lines: Sequence[str]) -> Failure | None:
        found = [line for line in lines if line in bad]
        return Failure(Fault.POINTS, f"It refused {found[0]}.", f"odd {found[0]}") if found else None

    return Judge(judge)


def at_most(size: int) -> Judge:
    return Judge(lambda lines: Failure(Fault.SIZE, "Too large.", "too large") if len(lines) > size else None)


def test_all_is_well_in_batches() -> None:
    judge = refusing()
    done = delivery.deliver(judge, LINES, 2000)
    assert (done.written, done.refused, done.rest, done.failure) == (5000, [], [], None)
    assert judge.sizes == [2000, 2000, 1000]
    assert judge.taken == LINES


@pytest.mark.parametrize("bad", ["point 0", "point 2499", "point 2500", "point 4999"])
def test_one_bad_line_costs_the_others_nothing(bad: str) -> None:
    judge = refusing(bad)
    done = delivery.deliver(judge, LINES, 5000)
    assert judge.taken == [line for line in LINES if line != bad]  # in order
    assert [(one.lines, one.words) for one in done.refused] == [((bad,), f"odd {bad}")]
    assert (done.written, done.rest, done.failure) == (4999, [], None)
    assert len(judge.sizes) < 30


def test_where_all_are_bad_the_search_ends() -> None:
    judge = refusing(*LINES)
    done = delivery.deliver(judge, LINES, 5000, max_requests=50)
    assert sorted(line for one in done.refused for line in one.lines) == sorted(LINES)
    assert (done.written, done.rest, done.failure) == (0, [], None)
    assert len(judge.sizes) < 70


def test_where_the_search_takes_too_long_it_ends() -> None:
    judge = refusing(*LINES[:1000])
    done = delivery.deliver(judge, LINES, 5000, search=lambda found: len(judge.sizes) < 20)
    assert judge.taken == LINES[1250:]
    assert sorted(line for one in done.refused for line in one.lines) == sorted(LINES[:1250])
    assert (done.written, done.rest, done.failure) == (3750, [], None)


def test_what_is_too_large_is_halved_until_it_fits() -> None:
    judge = at_most(700)
    done = delivery.deliver(judge, LINES, 5000)
    assert judge.taken == LINES
    assert done.largest == 625
    assert (done.written, done.refused, done.rest) == (5000, [], [])


def test_a_line_that_is_too_large_alone_is_refused() -> None:
    long = [line + "x" * delivery.LONG_LINE for line in LINES[:3]]
    done = delivery.deliver(at_most(0), long, 5000)
    assert [one.lines for one in done.refused] == [(line,) for line in long]
    assert done.refused[0].words == "too large"


def test_where_any_line_is_too_large_it_is_not_the_lines() -> None:
    """A proxy whose limit is wrong takes nothing: then all of it waits, as after any other wrong setting."""
    judge = at_most(0)
    done = delivery.deliver(judge, LINES, 5000)
    assert (done.written, done.refused, done.rest) == (0, [], LINES)
    assert done.failure is not None
    assert done.failure.fault is Fault.SETTING
    assert "Even a line of 7 bytes" in done.failure.reason
    assert done.largest is None  # once the limit is mended, all lines go at once again
    assert len(judge.sizes) == 13


@pytest.mark.parametrize("fault", [Fault.UNREACHABLE, Fault.SLOW, Fault.SETTING])
def test_any_other_failure_keeps_the_rest_in_order(fault: Fault) -> None:
    failure = Failure(fault, "Later.", retry_after=7.0)
    judge = refusing("point 10")
    find = judge.judge
    judge.judge = lambda lines: failure if "point 3000" in lines and len(lines) < 5000 else find(lines)
    done = delivery.deliver(judge, LINES, 5000)
    assert done.failure is failure
    assert [one.lines for one in done.refused] == [("point 10",)]
    assert done.rest == LINES[2500:]
    assert judge.taken == [line for line in LINES[:2500] if line != "point 10"]


def test_it_ends_where_there_is_no_time_left() -> None:
    answers = iter([True, False])
    judge = refusing()
    done = delivery.deliver(judge, LINES, 1000, go_on=lambda settled: next(answers))
    assert judge.taken == LINES[:2000]
    assert (done.written, done.rest, done.failure) == (2000, LINES[2000:], None)
