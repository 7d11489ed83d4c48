"""The tree of a trace's lines."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from monitoring.dashboard import tracetree
from monitoring.dashboard.tracesearch import of_trace
from monitoring.dashboard.tracetree import Place, Trace
from monitoring.tracelines import TraceLine, parse_line, plain_id
from tests.tracelogs import NOW, SAMPLES, line


def built(*lines: TraceLine, slow: float = 1.0) -> Trace:
    trace = tracetree.build(lines, slow)
    assert trace is not None
    return trace


def shape(trace: Trace) -> list[tuple[int, int]]:
    """Of each span its number and depth, as shown."""
    return [(int(span.line.span_id or "0", 16), span.depth) for span in trace.spans]


def places(trace: Trace) -> list[Place]:
    return [span.place for span in trace.spans]


def test_each_request_stands_below_its_caller_whatever_the_order_of_lines() -> None:
    lines = [line(1), line(2, 1), line(3, 2), line(4, 2), line(5, 1)]
    for seed in range(10):
        random.Random(seed).shuffle(lines)
        trace = built(*lines)
        assert sorted(shape(trace)) == [(1, 0), (2, 1), (3, 2), (4, 2), (5, 1)]
        order = [number for number, _ in shape(trace)]
        assert order[0] == 1
        assert {order[order.index(2) + 1], order[order.index(2) + 2]} == {3, 4}
    assert trace.detached == 0
    assert trace.headline == "No request failed"
    assert trace.condition == "up"


def test_without_a_line_there_is_no_trace() -> None:
    assert tracetree.build([], 1.0) is None


def test_the_80_requests_of_the_gin_services_make_20_trees() -> None:
    ids = {plain_id(parse_line(text).trace_id) for text in (SAMPLES / "gin-test-server.log").read_text().splitlines()}
    assert len(ids) == 20
    for trace_id in ids:
        trace = built(*of_trace([f"{SAMPLES}/*.log"], trace_id).lines)
        tree = [(span.line.service_name, span.depth, span.caller and span.caller.line.service_name) for span in trace.spans]
        assert tree == [
            ("test-server1", 0, None),
            ("test-server2", 1, "test-server1"),
            ("test-server4", 2, "test-server2"),
            ("test-server3", 1, "test-server1"),
        ]
        assert trace.first.line.service_name == "test-server1"
        assert (trace.services, trace.detached, trace.duplicates, trace.is_placed) == (4, 0, 0, False)


def test_ids_are_the_same_in_every_spelling() -> None:
    uuid = "d87e8bb6-9fb5-4422-98e4-56413d4a4faf"
    root = line(1)._replace(span_id=uuid)
    for parent in (uuid, uuid.upper(), uuid.replace("-", ""), "d87e8bb69fb54422"):
        assert [span.depth for span in built(root, line(2)._replace(parent_span_id=parent)).spans] == [0, 1]


def test_a_parent_of_nothing_but_zeros_is_none() -> None:
    assert places(built(line(1)._replace(parent_span_id="0" * 16))) == [Place.ROOT]


def test_a_request_without_an_id_is_nobodys_caller() -> None:
    trace = built(line(0), line(1), line(0)._replace(span_id="0" * 16, path="/other"))
    assert places(trace) == [Place.ROOT] * 3


def test_a_request_whose_caller_is_not_there() -> None:
    trace = built(line(2, 1), line(3, 2), line(9, 8))
    assert sorted(shape(trace)) == [(2, 0), (3, 1), (9, 0)]
    assert trace.detached == 2
    assert trace.condition == "warning"
    assert [span.place for span in trace.roots] == [Place.ORPHAN, Place.ORPHAN]


def test_the_first_request_is_the_one_without_a_caller_else_the_longest() -> None:
    assert built(line(2, 9, duration=5.0), line(1)).first.line.span_id[-1] == "1"
    assert built(line(2, 9, duration=5.0), line(3, 8)).first.line.span_id[-1] == "2"


@pytest.mark.parametrize(
    ("lines", "depths", "circular"),
    [
        ([line(1, 1)], [0], 1),
        ([line(1, 2), line(2, 1)], [0, 1], 1),
        ([line(1, 3), line(2, 1), line(3, 2)], [0, 1, 2], 1),
        ([line(1, 2, service="z"), line(2, 1, service="z"), line(3, 2, service="a")], [0, 1, 1], 1),
        ([line(1), line(2, 3), line(3, 2), line(4, 1)], [0, 0, 1, 1], 1),
    ],
)
def test_requests_that_call_themselves(lines: Sequence[TraceLine], depths: list[int], circular: int) -> None:
    trace = built(*lines)
    assert len(trace.spans) == len(lines)
    assert sorted(span.depth for span in trace.spans) == depths
    assert places(trace).count(Place.CIRCULAR) == circular
    assert len({id(span) for span in trace.spans}) == len(lines)


def test_what_only_hangs_on_a_circle_stays_below_it() -> None:
    trace = built(line(1, 2, service="z"), line(2, 1, service="z"), line(3, 1, service="a"))
    (three,) = (span for span in trace.spans if span.line.span_id[-1] == "3")
    assert (three.place, three.depth) == (Place.CHILD, 1 if trace.spans[0].line.span_id[-1] == "1" else 2)


def test_any_parents_at_all_give_each_line_once() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        count = chance.randrange(1, 12)
        lines = [line(chance.randrange(1, 8), chance.randrange(9), path=f"/{number}") for number in range(count)]
        trace = built(*lines)
        assert sorted(span.line.path for span in trace.spans) == sorted(one.path for one in lines)
        for above, span in zip(trace.spans, trace.spans[1:], strict=False):
            assert span.depth <= above.depth + 1


def test_a_chain_of_10000() -> None:
    trace = built(*(line(number + 1, number) for number in range(10_000)))
    assert [span.depth for span in trace.spans] == list(range(10_000))
    assert len(trace.spans[-1].steps) == 12


def test_a_line_that_is_there_twice_counts_once() -> None:
    trace = built(line(1), line(2, 1), line(1), line(2, 1), line(2, 1, path="/other"))
    assert trace.duplicates == 2
    assert len(trace.spans) == 3


def test_where_it_failed() -> None:
    trace = built(
        line(1, service="shop", status=502),
        line(2, 1, service="stock"),
        line(3, 1, service="payments", status=500),
        line(4, 3, service="mail", status=503),
        line(5, 4, service="log"),
    )
    assert [span.line.service_name for span in trace.origins] == ["mail"]
    assert trace.headline == "Failed in mail"
    assert trace.failed == 3
    assert trace.condition == "down"


def test_a_failure_below_one_that_was_answered() -> None:
    trace = built(line(1, status=500), line(2, 1, status=200), line(3, 2, service="stock", status=500))
    assert [span.line.service_name for span in trace.origins] == ["stock"]
    assert not built(line(1, status=499)).failed


def test_failures_at_several_places() -> None:
    trace = built(line(1), line(2, 1, service="a", status=500), line(3, 1, service="b", status=500))
    assert trace.headline == "Failed in 2 services"


def test_what_took_long() -> None:
    trace = built(line(1, duration=2.0), line(2, 1, duration=0.5), slow=1.0)
    assert [span.slow for span in trace.spans] == [True, False]
    assert (trace.headline, trace.condition) == ("Slow", "warning")


def test_bars_of_whole_seconds_tell_durations_alone() -> None:
    trace = built(line(1, duration=0.2), line(2, 1, duration=0.05), line(3, 1, duration=0.0))
    assert not trace.is_placed
    assert [(span.left, span.width) for span in trace.spans] == [(0, 100), (0, 25), (0, pytest.approx(0.4))]
    assert built(line(1, duration=0.0)).spans[0].width > 0


def test_bars_of_finer_stamps_are_placed_in_time() -> None:
    trace = built(
        line(1, duration=1.0, moment=NOW + 1.25), line(2, 1, duration=0.25, moment=NOW + 0.75), line(3, 1, moment=NOW + 1.25)
    )
    assert trace.is_placed
    assert [(span.left, span.width) for span in trace.spans[:2]] == [(0, 100), (25, 25)]
    assert trace.spans[2].left == pytest.approx(99.6)


def test_clocks_that_do_not_agree_place_no_bar() -> None:
    assert not built(line(1, duration=1.0, moment=NOW + 1.25), line(2, 1, duration=0.25, moment=NOW + 3600.75)).is_placed
