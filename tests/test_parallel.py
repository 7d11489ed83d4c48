"""Jobs on threads: the waiting ones hold up nobody, and there are never more threads than there may be."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from monitoring.collector import parallel


class Jobs:
    """`work` for jobs of which those called "hang" end only when the test lets them; remembers what happened."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.lock = threading.Lock()
        self.running = self.most = 0
        self.begun: list[str] = []

    def __call__(self, job: str) -> str:
        with self.lock:
            self.begun.append(job)
            self.running += 1
            self.most = max(self.most, self.running)
        if job.startswith("hang"):
            self.released.wait(60)
        with self.lock:
            self.running -= 1
        return job.upper()


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.released.set()


def at_once(*names: str) -> list[tuple[float, str]]:
    return [(0.0, name) for name in names]


def test_each_job_comes_with_its_result(jobs: Jobs) -> None:
    names = [f"job-{number}" for number in range(50)]
    found = dict(parallel.run(at_once(*names), jobs, concurrency=4, limit=100))
    assert found == {name: name.upper() for name in names}
    assert jobs.most <= 4


def test_jobs_that_hang_hold_up_nobody(jobs: Jobs) -> None:
    """All threads hang at first; the quick jobs behind them are done while the others still do."""
    hanging, quick = [f"hang-{number}" for number in range(40)], [f"quick-{number}" for number in range(10)]
    results = parallel.run(at_once(*hanging, *quick), jobs, concurrency=4, limit=100, deadline=60)
    assert sorted(next(results)[0] for _ in quick) == sorted(quick)
    assert jobs.running == 40
    jobs.released.set()
    assert sorted(job for job, _ in results) == sorted(hanging)


def test_there_are_never_more_threads_than_the_limit(jobs: Jobs) -> None:
    results = parallel.run(
        at_once(*(f"hang-{number}" for number in range(40)), "quick"), jobs, concurrency=4, limit=10, deadline=1
    )
    assert list(results) == []
    assert jobs.most == 10


def test_after_the_deadline_no_job_begins(jobs: Jobs) -> None:
    assert list(parallel.run(at_once("hang", "second"), jobs, concurrency=1, limit=1, deadline=0.1)) == []
    jobs.released.set()
    for thread in threading.enumerate():
        if thread.name.startswith("poll-"):
            thread.join(10)
    assert jobs.begun == ["hang"]


def test_jobs_begin_in_the_order_of_their_moments_and_not_before_them(jobs: Jobs) -> None:
    """The last one's moment is beyond the deadline."""
    found = list(parallel.run([(3600.0, "c"), (0.2, "b"), (0.0, "a")], jobs, concurrency=1, limit=1, deadline=1))
    assert [job for job, _ in found] == ["a", "b"]
    assert jobs.begun == ["a", "b"]


def test_no_jobs(jobs: Jobs) -> None:
    assert list(parallel.run([], jobs, concurrency=4, limit=100)) == []
