"""What a row of starts tells, and what is remembered of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from monitoring.collector import restarts
from monitoring.collector.observing import RESTARTS_KEPT
from monitoring.collector.outcomes import Outcome
from monitoring.collector.sinks.database import store
from monitoring.models import DOWN_AFTER, Instance, Interval, Resolution, Restart, Service
from monitoring.wire import EndpointMetrics, MetricsDocument

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
A, B, C = (NOON.timestamp() - seconds for seconds in (9000.0, 8000.0, 7000.0))


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        ([], False),
        ([A, A, A], False),
        ([A, A, B, B, C], False),
        ([A, B, A], True),
        ([A, B, C, C, A, A], True),
        ([B, A, A], False),
    ],
)
def test_what_comes_back_was_never_restarted(starts: list[float], expected: bool) -> None:
    assert restarts.came_back(starts) is expected


def test_what_is_said() -> None:
    assert restarts.judge([A, A, B]) == ""
    assert "register each host's own address" in restarts.judge([A, B, A])
    crashing = [A + number for number in range(6)]
    assert restarts.judge(crashing) == "it restarted 5 times in the last 6 polls"
    assert "several hosts" in restarts.judge(crashing, told=False)


def test_only_so_many_polls_are_remembered() -> None:
    starts: list[float] = []
    for number in range(40):
        starts = restarts.remember(starts, float(number))
    assert starts == [float(number) for number in range(24, 40)]


# In the database


class Watched:
    """A service whose only instance is polled each minute."""

    def __init__(self) -> None:
        self.service = Service.objects.create(name="shop", registered_at=NOON - timedelta(days=9))
        self.instance = Instance.objects.create(service=self.service, url="http://shop/metrics", registered_at=NOON)
        self.now = NOON

    def poll(self, started_at: float | None = None, count: int = 1, error: str = "") -> str:
        self.now += timedelta(minutes=1)
        endpoint = EndpointMetrics("GET", "/", count, count * 0.5, status_codes={200: count})
        document = None if error else MetricsDocument("shop", {endpoint.key: endpoint}, started_at)
        (stored,) = store(self.service, [Outcome(self.instance, self.now, 0.1, document, error)])
        self.instance = Instance.objects.get()
        return stored.warning

    @property
    def counted(self) -> int:
        return sum(Interval.objects.filter(resolution=Resolution.POLL).values_list("count", flat=True))


@pytest.fixture
def watched(db: None) -> Watched:
    return Watched()


def test_a_deploy_is_remembered(watched: Watched) -> None:
    watched.poll(A, 1000)
    watched.poll(A, 1010)
    deployed = watched.now + timedelta(seconds=20)
    watched.poll(deployed.timestamp(), 7)
    watched.poll(deployed.timestamp(), 9)
    assert [one.at for one in Restart.objects.all()] == [deployed]
    assert watched.counted == 10 + 7 + 2


def test_a_deploy_of_a_service_that_does_not_tell_its_start(watched: Watched) -> None:
    watched.poll(None, 1000)
    watched.poll(None, 3)
    assert [one.at for one in Restart.objects.all()] == [watched.now]
    assert watched.counted == 3


def test_several_hosts_behind_one_address_are_reported_and_neither_counted_twice_nor_taken_for_deploys(watched: Watched) -> None:
    """Two hosts that were deployed within seconds, just before: nothing tells the first change from a deploy."""
    one, other = NOON.timestamp() - 30, NOON.timestamp() - 25
    counts = {one: 500_000, other: 400_000}
    watched.poll(one, counts[one])
    warnings = []
    for number in range(10):
        start = (other, one)[number % 2]
        counts[start] += 10
        warnings.append(watched.poll(start, counts[start]))
    assert warnings[0] == ""
    assert all("2 processes that count apart answer at this address in turn" in warning for warning in warnings[1:])
    assert watched.instance.warning == warnings[-1]
    assert watched.counted == 400_010  # of the first change, which could not be told; nothing of it a second time
    assert not Restart.objects.exists()


def test_hosts_that_run_since_long_ago_are_not_counted_even_once(watched: Watched) -> None:
    for start in (A, B, A, B):
        watched.poll(start, 500_000)
    assert watched.counted == 0


def test_one_host_again_is_counted_again_and_the_warning_goes(watched: Watched) -> None:
    for start in (A, B, A):
        watched.poll(start, 100)
    warnings = [watched.poll(A, 100 + number) for number in range(1, 20)]
    assert watched.counted == 19
    assert warnings[0] != ""
    assert warnings[-1] == ""


def test_one_that_crashes_each_minute_does_not_fill_the_table(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.collector.observing.RESTARTS_KEPT", 5)
    for _ in range(9):
        warning = watched.poll(watched.now.timestamp() + 30, 1)
    assert warning.startswith("it restarted 8 times")
    assert Restart.objects.count() == 5 < RESTARTS_KEPT
    assert Restart.objects.first().at == watched.now - timedelta(seconds=30)  # type: ignore[union-attr]


# Up, failing, down


def test_since_when_it_is_up_or_fails(watched: Watched) -> None:
    watched.poll(A)
    up = watched.now
    watched.poll(error="refused")
    failing = watched.now
    assert (watched.instance.up_since, watched.instance.failing_since, watched.instance.failures) == (up, failing, 1)
    watched.poll(A)
    assert (watched.instance.up_since, watched.instance.failing_since) == (up, None), "one failure is no outage"
    for number in range(DOWN_AFTER):
        watched.poll(error="refused")
        failing = watched.now if number == 0 else failing
    assert (watched.instance.up_since, watched.instance.failing_since, watched.instance.is_down) == (None, failing, True)
    assert watched.service.status(watched.now).since == failing
    watched.poll(A)
    assert (watched.instance.up_since, watched.instance.failing_since) == (watched.now, None)


def test_whoever_holds_the_polled_instance_sees_its_new_state(watched: Watched) -> None:
    held = watched.instance
    watched.poll(error="refused")
    assert (held.failures, held.last_error, held.last_polled_at) == (1, "refused", watched.now)


def test_after_the_clock_was_set_back_the_state_goes_on(watched: Watched) -> None:
    watched.poll(A, 10)
    watched.now -= timedelta(hours=1)
    watched.poll(A, 14)
    assert (watched.instance.last_polled_at, watched.counted) == (watched.now, 4)
    watched.poll(error="refused")
    assert watched.instance.failures == 1
