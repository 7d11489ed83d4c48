"""The outbox and what is forwarded from it, with a sink in memory; tests/live/test_outbox.py has the real servers."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone

import pytest
from django.utils import timezone as django_timezone

from monitoring.collector import forwarding, lease, outbox
from monitoring.collector.forwarding import Patience, Report
from monitoring.collector.outbox import Bounds
from monitoring.collector.sinks.base import Failure, Fault, PolledInstance
from monitoring.models import OutboxState, RejectedPoints, WaitingPoints, pack_lines, unpack_lines, waiting

pytestmark = pytest.mark.django_db

BOUNDS = Bounds(10**9, timedelta(days=7))


class Memory:
    """A sink that keeps what it took; `judge` says what is wrong with lines."""

    name = "Memory"
    timeout: float = 2.5

    def __init__(self, address: str = "memory") -> None:
        self.address = address
        self.lines: list[str] = []
        self.sizes: list[int] = []
        self.judge: Callable[[Sequence[str]], Failure | None] = lambda lines: None

    @contextlib.contextmanager
    def open(self) -> Iterator[Memory]:
        yield self

    def send(self, lines: Sequence[str]) -> Failure | None:
        self.sizes.append(len(lines))
        failure = self.judge(lines)
        if failure is None:
            self.lines += lines
        return failure

    def fails(self, fault: Fault = Fault.UNREACHABLE, retry_after: float | None = None) -> None:
        failure = Failure(fault, f"It is {fault.value}.", retry_after=retry_after)
        self.judge = lambda lines: failure

    def works(self) -> None:
        self.judge = lambda lines: None


def put(*names: str, at: datetime | None = None) -> None:
    for name in names:
        outbox.put([PolledInstance(name, f"{name}:80", at or django_timezone.now(), 0.1, "", None, None)])


def put_lines(number: int, rows: int = 1) -> list[str]:
    """Rows with lines of their own."""
    written = []
    for row in range(rows):
        lines = [f"shop,path=GET/{row}/{one} count=1i 1" for one in range(number)]
        packed = pack_lines(lines)
        WaitingPoints.objects.create(created_at=1_795_305_600_000, points=number, size=len(packed), lines=packed)
        written += lines
    return written


def deliver(sink: Memory, patience: Patience = Patience.SCHEDULE, bounds: Bounds | None = None) -> Report:
    """With bounds that drop nothing, whatever the stamps of a test say."""
    return forwarding.deliver(sink, bounds or Bounds(10**12, timedelta(days=36500)), patience=patience)


def later(seconds: float) -> None:
    """As if so much time had passed since the last attempt."""
    state = OutboxState.objects.get()
    for name in ("retry_at", "failing_since"):
        if getattr(state, name):
            setattr(state, name, getattr(state, name) - timedelta(seconds=seconds))
    state.save()


def services(sink: Memory) -> list[str]:
    return [line.partition("service=")[2].partition(" ")[0] for line in sink.lines]


def test_what_was_put_is_delivered_in_order_and_once() -> None:
    sink = Memory()
    put("a", "b", "c")
    report = deliver(sink)
    assert (report.delivered, report.waiting, report.error) == (3, 0, "")
    assert services(sink) == ["a", "b", "c"]
    put("d")
    deliver(sink)
    assert services(sink) == ["a", "b", "c", "d"]
    state = OutboxState.objects.get()
    assert (state.delivered, state.failures, state.holder, state.held_until) == (4, 0, "", None)
    assert state.delivered_at is not None


def test_nothing_waits() -> None:
    sink = Memory()
    assert deliver(sink) == Report()
    assert sink.sizes == []


def test_a_poll_of_many_endpoints_is_several_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"shop count={number}i 1" for number in range(2500)]
    monkeypatch.setattr("monitoring.collector.points.lines", lambda polled: lines)
    put("shop")
    assert list(WaitingPoints.objects.values_list("points", flat=True)) == [1000, 1000, 500]
    sink = Memory()
    deliver(sink)
    assert sink.lines == lines
    assert sink.sizes == [2500]


def test_requests_have_at_most_5000_lines() -> None:
    lines = put_lines(700, rows=20)
    sink = Memory()
    assert deliver(sink).delivered == 14000
    assert sink.lines == lines
    assert sink.sizes == [4900, 4900, 4200]


def test_down_for_thirty_rounds_then_back() -> None:
    sink = Memory()
    sink.fails()
    for number in range(30):
        put(f"s{number}")
        report = deliver(sink)
        assert (report.error, report.waiting) == ("It is unreachable.", number + 1)
        later(400)
    assert report.since is not None
    sink.works()
    report = deliver(sink)
    assert (report.delivered, report.waiting, report.error) == (30, 0, "")
    assert services(sink) == [f"s{number}" for number in range(30)]
    assert OutboxState.objects.get().failing_since is None


def test_attempts_back_off_with_jitter() -> None:
    sink = Memory()
    sink.fails()
    put("a")
    delays = []
    for _ in range(8):
        before = django_timezone.now()
        report = deliver(sink)
        assert report.retry_at is not None
        delays.append((report.retry_at - before).total_seconds())
        later(400)
    for delay, longest in zip(delays, [15, 30, 60, 120, 240, 300, 300, 300], strict=True):
        assert longest / 2 <= delay <= longest + 5
    state = OutboxState.objects.get()
    assert (state.failures, state.error) == (8, "It is unreachable.")


def test_between_attempts_nothing_is_sent_and_the_reason_stays() -> None:
    sink = Memory()
    sink.fails()
    put("a")
    deliver(sink)
    sink.works()
    report = deliver(sink)
    assert (report.error, report.waiting, len(sink.sizes)) == ("It is unreachable.", 1, 1)
    assert report.retry_at is not None
    assert deliver(sink, Patience.COMMAND).delivered == 1  # who runs a command does not wait


def test_who_is_asked_to_wait_waits() -> None:
    sink = Memory()
    sink.fails(retry_after=600)
    put("a")
    before = django_timezone.now()
    report = deliver(sink)
    assert report.retry_at is not None
    assert 600 <= (report.retry_at - before).total_seconds() < 660
    sink.works()
    assert deliver(sink, Patience.COMMAND).delivered == 0
    assert len(sink.sizes) == 1
    assert deliver(sink, Patience.NOW).delivered == 1  # who asks for it now gets it


def test_a_clock_that_was_set_back_does_not_silence_it() -> None:
    sink = Memory()
    put("a")
    sink.fails()
    deliver(sink)
    sink.works()
    later(-86400 * 300)
    assert deliver(sink).delivered == 1


@pytest.mark.parametrize(("retry_after", "longest"), [(None, 300), (600, 3600)])
def test_a_clock_that_was_set_back_a_little_delays_it_no_longer_than_agreed(retry_after: float | None, longest: float) -> None:
    sink = Memory()
    put("a")
    sink.fails(retry_after=retry_after)
    deliver(sink)
    sink.works()
    later(-longest)
    assert deliver(sink).delivered == 1


def test_another_address_is_tried_at_once_and_gets_what_waits() -> None:
    sink = Memory()
    sink.fails(Fault.SETTING)
    polled_at = django_timezone.now() - timedelta(hours=1)
    put("a", at=polled_at)
    deliver(sink)
    other = Memory("elsewhere")
    assert deliver(other).delivered == 1
    state = OutboxState.objects.get()
    assert (state.address, state.sink) == ("elsewhere", "Memory")
    assert state.since is not None
    assert abs(state.since - polled_at) < timedelta(milliseconds=1)


def test_a_bad_point_is_set_aside_with_the_servers_words() -> None:
    lines = put_lines(100, rows=3)
    bad = lines[150]
    sink = Memory()
    sink.judge = lambda sent: Failure(Fault.POINTS, "It refused.", "field type conflict") if bad in sent else None
    report = deliver(sink)
    assert (report.delivered, report.rejected, report.waiting, report.error) == (299, 1, 0, "")
    assert sink.lines == [line for line in lines if line != bad]
    rejected = RejectedPoints.objects.get()
    assert (rejected.words, rejected.points, unpack_lines(rejected.lines)) == ("field type conflict", 1, [bad])
    assert OutboxState.objects.get().rejected == 1


def test_what_was_set_aside_can_be_put_back() -> None:
    (line,) = put_lines(1)
    sink = Memory()
    sink.fails(Fault.POINTS)
    deliver(sink)
    sink.works()
    rejected = RejectedPoints.objects.get()
    outbox.put_back(rejected)
    outbox.put_back(rejected)  # a second click
    assert not RejectedPoints.objects.exists()
    assert deliver(sink).delivered == 1
    assert sink.lines == [line]


def test_of_the_refused_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_REJECTED_POINTS", 25)
    sink = Memory()
    sink.judge = lambda sent: Failure(Fault.POINTS, "It refused.", f"odd {sent[0]}")
    for _ in range(4):
        put_lines(10)
        deliver(sink)
    assert sum(RejectedPoints.objects.values_list("points", flat=True)) == 25
    assert OutboxState.objects.get().rejected == 40


def test_a_failure_in_the_middle_keeps_only_what_was_not_settled() -> None:
    lines = put_lines(100, rows=4)
    sink = Memory()
    bad, down = lines[50], Failure(Fault.UNREACHABLE, "Gone.")

    def judge(sent: Sequence[str]) -> Failure | None:
        if bad in sent:
            return Failure(Fault.POINTS, "It refused.", "odd")
        return down if lines[350] in sent else None

    sink.judge = judge
    report = deliver(sink)
    assert (report.rejected, report.error) == (1, "Gone.")
    assert report.delivered + report.rejected + report.waiting == 400
    sink.works()
    deliver(sink, Patience.NOW)
    assert sink.lines == [line for line in lines if line != bad]
    assert OutboxState.objects.get().delivered == 399


def test_a_slow_server_gets_fewer_lines_and_more_again() -> None:
    put_lines(1000, rows=12)
    sink = Memory()
    sink.judge = lambda sent: Failure(Fault.SLOW, "Too slow.") if len(sent) > 1000 else None
    for _ in range(3):
        deliver(sink, Patience.NOW)
    assert sink.sizes[:3] == [5000, 2000, 1000]
    assert len(sink.lines) >= 1000
    sink.works()
    deliver(sink, Patience.NOW)
    assert waiting().points == 0
    assert OutboxState.objects.get().batch_size > 1000


def test_one_that_needs_its_time_gets_no_more_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "QUICK", 0)
    put_lines(1000, rows=7)
    sink = Memory()
    sink.judge = lambda sent: Failure(Fault.SLOW, "Too slow.") if len(sent) > 2000 else None
    for _ in range(3):
        deliver(sink, Patience.NOW)
    assert sink.sizes == [5000, 2000, 2000, 2000, 1000]


def test_rows_of_many_small_requests_do_not_count_as_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    put_lines(1000, rows=7)
    sink = Memory()
    sink.fails()
    deliver(sink)
    OutboxState.objects.update(batch_size=100)
    clock = itertools.count(step=forwarding.QUICK / 10)  # of which each request takes a little
    monkeypatch.setattr(forwarding.time, "monotonic", lambda: next(clock))
    sink.works()
    deliver(sink, Patience.NOW)
    assert waiting().points == 0
    assert max(sink.sizes[1:]) > 150


def test_one_that_is_always_slow_still_gets_a_hundred() -> None:
    put_lines(1000)
    sink = Memory()
    sink.fails(Fault.SLOW)
    for _ in range(10):
        deliver(sink, Patience.NOW)
    assert min(sink.sizes) == 100


def test_too_large_for_one_request() -> None:
    lines = put_lines(1000, rows=8)
    sink = Memory()
    sink.judge = lambda sent: Failure(Fault.SIZE, "Too large.", "too large") if len(sent) > 1500 else None
    assert deliver(sink).delivered == 8000
    assert sink.lines == lines
    assert sink.sizes.count(5000) == 1  # found once


def test_the_oldest_are_dropped_when_it_is_full() -> None:
    lines = put_lines(100, rows=10)
    deliver_nothing = Memory()
    deliver_nothing.fails()
    half = waiting().size // 2
    report = deliver(deliver_nothing, bounds=Bounds(half, timedelta(days=36500)))
    assert (report.dropped, report.waiting) == (500, 500)
    state = OutboxState.objects.get()
    assert state.dropped == 500
    assert state.dropped_at is not None
    sink = Memory("another")
    deliver(sink)
    assert sink.lines == lines[500:]


def test_what_is_too_old_is_dropped_first() -> None:
    now = django_timezone.now()
    put("old", at=now - timedelta(days=8))
    put("new", at=now)
    sink = Memory()
    report = forwarding.deliver(sink, BOUNDS)
    assert (report.dropped, report.delivered) == (1, 1)
    assert services(sink) == ["new"]


def test_one_collector_delivers_at_a_time() -> None:
    put("a")
    sink = Memory()
    lease.state()
    with lease.taken() as mine:
        assert mine is not None
        report = deliver(sink)
        assert (report.busy, report.delivered, report.waiting) == (True, 0, 1)
    assert deliver(sink).delivered == 1


def test_a_killed_collectors_lease_ends() -> None:
    put("a")
    lease.state()
    now = django_timezone.now()
    for until in (now - timedelta(seconds=1), now + timedelta(days=2)):  # the second: a clock that was set back
        OutboxState.objects.update(holder="killed", held_until=until)
        put("b")
        assert deliver(Memory()).delivered >= 1


def test_the_lease_lasts_longer_than_a_request() -> None:
    """Or a server that takes its time would be given every batch again and again."""
    put("a")
    sink = Memory()
    sink.timeout = 300
    left: list[timedelta] = []

    def judge(lines: Sequence[str]) -> None:
        left.append(OutboxState.objects.get().held_until - django_timezone.now())

    sink.judge = judge
    assert deliver(sink).delivered == 1
    assert left[0] > timedelta(seconds=300)


def test_who_lost_the_lease_acknowledges_nothing() -> None:
    put("a", "b")
    sink = Memory()

    def stolen(lines: Sequence[str]) -> None:
        OutboxState.objects.update(holder="another", held_until=django_timezone.now() + timedelta(minutes=1))

    sink.judge = stolen
    report = deliver(sink)
    assert (report.busy, report.delivered, report.waiting) == (True, 0, 2)
    assert OutboxState.objects.get().holder == "another"


def test_an_error_of_ours_is_a_failed_attempt() -> None:
    put("a")
    sink = Memory()

    def broken(lines: Sequence[str]) -> Failure | None:
        raise ZeroDivisionError("x")

    sink.judge = broken
    report = deliver(sink)
    assert "ZeroDivisionError" in report.error
    assert report.waiting == 1


def test_rows_that_cannot_be_read_are_dropped_and_counted() -> None:
    WaitingPoints.objects.create(created_at=1, points=7, size=3, lines=b"odd")
    put("a")
    sink = Memory()
    report = deliver(sink)
    assert report.delivered == 1
    assert report.waiting == 0
    assert OutboxState.objects.get().dropped == 7


def test_rows_that_cannot_be_read_are_counted_once() -> None:
    WaitingPoints.objects.create(created_at=1, points=7, size=3, lines=b"odd")
    put("a")
    sink = Memory()
    sink.fails()
    for _ in range(3):
        deliver(sink, Patience.NOW)
    assert OutboxState.objects.get().dropped == 0
    sink.works()
    assert deliver(sink, Patience.NOW).delivered == 1
    assert (OutboxState.objects.get().dropped, waiting().points) == (7, 0)


def test_time_ends_a_delivery_and_the_next_goes_on() -> None:
    put_lines(1000, rows=11)
    sink = Memory()
    report = forwarding.deliver(sink, Bounds(10**12, timedelta(days=36500)), seconds=0)
    assert (report.delivered, report.waiting, report.error) == (5000, 6000, "")
    assert deliver(sink).delivered == 6000


def test_without_time_a_bad_line_is_found_all_the_same_over_several_deliveries() -> None:
    """Each of them settles something, or the next would begin with the same requests, for ever."""
    lines = put_lines(1000, rows=5)
    bad = lines[2345]
    sink = Memory()
    sink.judge = lambda sent: Failure(Fault.POINTS, "It refused.", "odd") if bad in sent else None
    left = [5000]
    while left[-1]:
        left.append(forwarding.deliver(sink, Bounds(10**12, timedelta(days=36500)), seconds=0).waiting)
        assert left[-1] < left[-2]
    assert sink.lines == [line for line in lines if line != bad]
    assert RejectedPoints.objects.get().points == 1


def test_a_few_bad_lines_are_found_however_slow_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "SEARCH_SECONDS", 0)
    lines = put_lines(1000, rows=5)
    bad = {lines[17], lines[2345], lines[4999]}
    sink = Memory()
    sink.judge = lambda sent: Failure(Fault.POINTS, "It refused.", "odd") if bad & set(sent) else None
    assert deliver(sink).rejected == 3
    assert sink.lines == [line for line in lines if line not in bad]


def test_stamps_of_what_waits() -> None:
    moment = datetime(2026, 11, 22, 1, 2, 3, 456789, tzinfo=timezone.utc)
    put("a", at=moment + timedelta(hours=1))
    put("b", at=moment)
    found = waiting()
    assert found.since == moment.replace(microsecond=456000)
    assert found.points == 2
