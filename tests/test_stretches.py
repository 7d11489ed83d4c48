"""Which rows tell a stretch of time: every moment once, by the finest rows that are complete."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitoring.collector import stretches
from monitoring.models import Resolution

POLL, TEN, HOUR, DAY = Resolution
LENGTH = {POLL: 1, TEN: TEN.length, HOUR: HOUR.length, DAY: DAY.length}

MOMENTS = st.integers(0, 10 * DAY.length) | st.integers(0, 240).map(lambda hours: hours * HOUR.length)


@st.composite
def complete(draw: st.DrawFn) -> dict[Resolution, int]:
    """As borders() gives them: ascending from coarse to fine, on multiples of the next coarser resolution."""
    hours = draw(st.integers(0, 10)) * DAY.length
    tens = hours + draw(st.integers(0, 50)) * HOUR.length
    return {DAY: 0, HOUR: hours, TEN: tens, POLL: tens + draw(st.integers(0, 100)) * TEN.length}


@given(MOMENTS, MOMENTS, complete())
def test_every_moment_is_told_once_by_the_finest_rows_there_are(after: int, until: int, borders: dict[Resolution, int]) -> None:
    found, left_out = stretches.parts(after, until, borders)
    pieces = sorted((one.after, one.until) for one in (*found, *left_out))
    if after >= until:
        assert pieces == []
        return
    assert (pieces[0][0], pieces[-1][1]) == (after, until)
    assert all(one[1] == other[0] for one, other in pairwise(pieces))
    for one in found:
        assert one.after < one.until
        assert one.after % LENGTH[one.resolution] == one.until % LENGTH[one.resolution] == 0
        assert one.resolution == stretches.finest(one.after, borders)
    for one in left_out:  # no whole row is: only that in which the stretch begins, and that in which it ends
        assert -(-one.after // LENGTH[one.resolution]) >= one.until // LENGTH[one.resolution]
        assert one.after == after or one.until == until


@given(MOMENTS, complete())
def test_a_beginning_leaves_nothing_out(since: int, borders: dict[Resolution, int]) -> None:
    begin = stretches.beginning(since, borders)
    assert 0 <= since - begin < DAY.length
    _, left_out = stretches.parts(begin, 20 * DAY.length, borders)
    assert left_out == []


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda one: one[0] < one[1]), max_size=5))
def test_without_is_what_is_in_none_of_them(known: list[tuple[int, int]]) -> None:
    found = stretches.without(5, 25, known)
    moments = [moment for after, until in found for moment in range(after + 1, until + 1)]
    assert moments == [moment for moment in range(6, 26) if not any(after < moment <= until for after, until in known)]
