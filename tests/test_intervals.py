"""Cumulative counters to intervals: restarts, gaps, what left and what came back."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from monitoring import histogram
from monitoring.collector.intervals import (
    CLOCK_STEP,
    HANDOVER,
    Baseline,
    InstanceInterval,
    between,
    is_older,
    is_stale,
    total,
)
from monitoring.wire import EndpointMetrics, MetricsDocument

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)
LONG_AGO = NOON - timedelta(days=9)


def endpoint(count: int, route: str = "/", duration_sum: float | None = None, **more: object) -> EndpointMetrics:
    total = count * 0.5 if duration_sum is None else duration_sum
    return EndpointMetrics("GET", route, count, total, status_codes={200: count}, **more)  # type: ignore[arg-type]


def document(*endpoints: EndpointMetrics, started_at: datetime | None = LONG_AGO) -> MetricsDocument:
    stamp = None if started_at is None else started_at.timestamp()
    return MetricsDocument("shop", {one.key: one for one in endpoints}, stamp)


def interval(before: MetricsDocument, after: MetricsDocument) -> InstanceInterval:
    found = between(Baseline(before, NOON), after, NOON + MINUTE, LONG_AGO)
    assert found is not None
    return found


def test_what_changed_is_counted_and_what_did_not_is_left_out() -> None:
    found = interval(
        document(endpoint(10), endpoint(3, "/idle")), document(endpoint(14), endpoint(3, "/idle"), endpoint(2, "/new"))
    )
    assert (found.start, found.end, found.reset) == (NOON, NOON + MINUTE, False)
    assert [(one.route, one.count, one.duration_sum, one.status_codes) for one in found.endpoints] == [
        ("/", 4, 2.0, {200: 4}),
        ("/new", 2, 1.0, {200: 2}),
    ]


def test_nothing_happened_is_an_interval_too() -> None:
    assert interval(document(endpoint(10)), document(endpoint(10))).endpoints == []


def test_the_first_poll_is_the_baseline_only() -> None:
    assert between(None, document(endpoint(10)), NOON, registered_at=NOON - MINUTE) is None
    assert between(None, document(endpoint(10), started_at=None), NOON, registered_at=NOON - MINUTE) is None


def test_an_instance_that_started_after_it_was_registered_has_no_unknown_past() -> None:
    found = between(None, document(endpoint(10), started_at=NOON), NOON + MINUTE, registered_at=NOON - MINUTE)
    assert found is not None
    assert (found.start, found.end, found.endpoints[0].count) == (NOON, NOON + MINUTE, 10)


def test_a_clock_that_is_ahead_gives_no_interval_that_ends_before_it_starts() -> None:
    ahead = document(endpoint(10), started_at=NOON + timedelta(hours=1))
    assert between(None, ahead, NOON, registered_at=LONG_AGO) is None
    found = interval(document(endpoint(50)), ahead)
    assert (found.start, found.end, found.reset) == (NOON, NOON + MINUTE, True)


def test_a_start_beyond_what_a_date_can_hold_tells_nothing() -> None:
    odd = MetricsDocument("shop", {"GET/": endpoint(10)}, 1e300)
    assert between(None, odd, NOON, LONG_AGO) is None


def test_a_restart_told_by_started_at() -> None:
    restarted = NOON + MINUTE / 2
    found = interval(document(endpoint(10)), document(endpoint(12), started_at=restarted))
    assert (found.start, found.reset, found.endpoints[0].count) == (restarted, True, 12)


def test_a_restart_told_by_a_count_that_fell() -> None:
    before, after = (
        document(endpoint(10), endpoint(1, "/b"), started_at=None),
        document(endpoint(3), endpoint(5, "/b"), started_at=None),
    )
    found = interval(before, after)
    assert (found.start, found.reset) == (NOON, True)
    assert [one.count for one in found.endpoints] == [3, 5]


def test_a_count_that_fell_without_a_restart_concerns_that_endpoint_alone() -> None:
    """Otherwise one series that left for being idle, and came back, would count all the others' whole past again."""
    found = interval(document(endpoint(10), endpoint(1000, "/b")), document(endpoint(2), endpoint(1001, "/b")))
    assert (found.reset, found.fallen) == (False, ("GET/",))
    assert [one.count for one in found.endpoints] == [2, 1]


def test_an_endpoint_that_disappears_takes_nothing_back() -> None:
    found = interval(document(endpoint(10), endpoint(7, "/gone")), document(endpoint(11)))
    assert (found.reset, found.fallen) == (False, ())
    assert [(one.route, one.count) for one in found.endpoints] == [("/", 1)]
    again = interval(document(endpoint(11)), document(endpoint(11), endpoint(2, "/gone")))
    assert [(one.route, one.count) for one in again.endpoints] == [("/gone", 2)]


def test_a_sum_that_lost_precision_is_never_negative() -> None:
    found = interval(document(endpoint(10, duration_sum=5.0)), document(endpoint(11, duration_sum=4.9999999)))
    assert found.endpoints[0].duration_sum == 0.0


def test_the_maximum_is_exact_where_it_grew_and_else_a_bucket_bound() -> None:
    before = document(endpoint(2, duration_max=3.0, buckets={-4: 1, 6: 1}))
    grew = interval(before, document(endpoint(3, duration_max=3.5, buckets={-4: 1, 6: 1, 7: 1})))
    assert (grew.endpoints[0].duration_max, grew.endpoints[0].buckets) == (3.5, {7: 1})
    same = interval(before, document(endpoint(3, duration_max=3.0, buckets={-4: 2, 6: 1})))
    assert (same.endpoints[0].duration_max, same.endpoints[0].buckets) == (histogram.upper_bound(-4), {-4: 1})
    unknown = interval(document(endpoint(2)), document(endpoint(3)))
    assert (unknown.endpoints[0].duration_max, unknown.endpoints[0].buckets) == (None, None)


def test_a_poll_that_began_before_the_stored_one_had_its_answer_is_stale() -> None:
    answered_late = Baseline(document(endpoint(10)), NOON, poll_duration=30.0)
    assert is_stale(answered_late, NOON + MINUTE / 3)
    assert not is_stale(answered_late, NOON + MINUTE)
    stored = Baseline(document(endpoint(10)), NOON)
    assert is_stale(stored, NOON - MINUTE)
    assert is_stale(stored, NOON)
    assert not is_stale(stored, NOON + MINUTE)
    assert not is_stale(None, NOON)


def test_the_total_is_the_sum_over_endpoints() -> None:
    before = document(endpoint(1, duration_max=1.0, buckets={0: 1}))
    after = document(endpoint(3, duration_max=2.0, buckets={0: 1, 4: 2}), EndpointMetrics("GET", "/b", 1, 0.25, None, {503: 1}))
    found = total(interval(before, after).endpoints)
    assert (found.count, found.duration_sum, found.duration_max, found.errors) == (3, 1.25, 2.0, 1)
    assert found.status_codes == {200: 2, 503: 1}
    assert found.buckets == {4: 2}
    assert total([]).count == 0


# Clocks that were set


def test_a_clock_that_was_set_back_gives_an_interval_without_length_and_loses_no_count() -> None:
    earlier = NOON - timedelta(hours=1)
    baseline = Baseline(document(endpoint(10)), NOON, poll_duration=1.0)
    assert not is_stale(baseline, earlier)
    found = between(baseline, document(endpoint(14)), earlier, LONG_AGO)
    assert found is not None
    assert (found.start, found.end, found.reset, found.endpoints[0].count) == (earlier, earlier, False, 4)


def test_what_lies_ahead_by_less_than_a_clock_is_set_is_a_poll_that_overlaps() -> None:
    assert is_older(NOON, NOON + CLOCK_STEP)
    assert not is_older(NOON, NOON + CLOCK_STEP + timedelta(seconds=1))
    assert not is_older(NOON, NOON)


# Another process than before


def after(before: datetime, now: datetime, starts: tuple[float, ...] = ()) -> InstanceInterval | None:
    """Between polls of a process that started `before` and one that started `now`."""
    baseline = Baseline(document(endpoint(10), started_at=before), NOON)
    return between(baseline, document(endpoint(1_000_000), started_at=now), NOON + MINUTE, LONG_AGO, starts)


def test_a_process_that_ran_beside_the_one_before_is_no_restart_and_its_past_no_interval() -> None:
    assert after(LONG_AGO, LONG_AGO + timedelta(seconds=5)) is None
    assert after(LONG_AGO, LONG_AGO - timedelta(days=1)) is None


def test_a_successor_that_was_started_a_while_before_it_took_over_is_one() -> None:
    found = after(LONG_AGO, NOON - HANDOVER)
    assert found is not None
    assert (found.start, found.reset) == (NOON, True)
    assert after(LONG_AGO, NOON - HANDOVER - timedelta(seconds=1)) is None


def test_a_process_that_was_there_before_is_no_restart_however_young() -> None:
    young = NOON - MINUTE
    assert after(NOON - 2 * MINUTE, young) is not None
    assert after(NOON - 2 * MINUTE, young, starts=(young.timestamp(),)) is None


def test_a_start_that_is_told_from_now_on_or_no_more_is_no_restart_by_itself() -> None:
    without, told = document(endpoint(10), started_at=None), document(endpoint(14))
    assert interval(without, told).endpoints[0].count == 4
    assert interval(document(endpoint(10)), document(endpoint(14), started_at=None)).endpoints[0].count == 4
    assert interval(without, document(endpoint(3), started_at=NOON + MINUTE / 2)).reset


def test_of_a_document_that_was_cut_an_endpoint_that_was_not_there_before_counts_from_now_on() -> None:
    """It may have been beyond the cut the last time, with a long past."""
    before, cut = document(endpoint(10)), document(endpoint(11), endpoint(5000, "/b"))
    cut.truncated = True
    assert [(one.route, one.count) for one in interval(before, cut).endpoints] == [("/", 1)]
