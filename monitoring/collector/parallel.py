"""Many slow jobs at once, on threads of which those that only wait for somebody do not hold up the others. Knows no services."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

STALLED = 0.2
"""Seconds after which a thread counts as one that waits, and another one may work in its place."""

_LOOK_EVERY = 0.05


def run(
    jobs: Sequence[tuple[float, Job]],
    work: Callable[[Job], Result],
    *,
    concurrency: int,
    limit: int,
    deadline: float | None = None,
) -> Iterator[tuple[Job, Result]]:
    """Each job with its result, as they come; `work` raises nothing.

    A job comes with the seconds from now before which it does not begin. `concurrency` threads make progress at the same time;
    with those that are stalled there are at most `limit`. After `deadline` seconds nobody is waited for any more, and no further
    job begins. The threads are daemons, so that one that still waits then, or when the program ends, holds up nobody.
    """
    crew = _Crew(sorted(jobs, key=lambda job: job[0]), work, concurrency, min(limit, len(jobs)))
    ends = None if deadline is None else time.monotonic() + deadline
    try:
        crew.start()
        for _ in jobs:
            try:
                yield crew.done.get(timeout=None if ends is None else max(0.0, ends - time.monotonic()))
            except queue.Empty:
                return
    finally:
        crew.over.set()


class _Crew(Generic[Job, Result]):
    def __init__(self, jobs: Sequence[tuple[float, Job]], work: Callable[[Job], Result], concurrency: int, limit: int) -> None:
        self.work, self.concurrency, self.limit = work, concurrency, limit
        self.begun = time.monotonic()
        self.waiting: queue.SimpleQueue[tuple[float, Job]] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[tuple[Job, Result]] = queue.SimpleQueue()
        self.over = threading.Event()
        self.threads = 0
        self.busy_since: dict[int, float] = {}
        for job in jobs:
            self.waiting.put(job)

    def start(self) -> None:
        self._add(self.concurrency)
        if self.threads < self.limit:
            threading.Thread(target=self._supervise, name="poll-supervisor", daemon=True).start()

    def _add(self, count: int) -> None:
        for _ in range(min(count, self.limit - self.threads)):
            threading.Thread(target=self._work, args=(self.threads,), name=f"poll-{self.threads}", daemon=True).start()
            self.threads += 1

    def _work(self, number: int) -> None:
        while not self.over.is_set():
            try:
                not_before, job = self.waiting.get_nowait()
            except queue.Empty:
                return
            early = self.begun + not_before - time.monotonic()
            if early > 0 and self.over.wait(early):
                return
            self.busy_since[number] = time.monotonic()
            result = self.work(job)
            del self.busy_since[number]
            self.done.put((job, result))

    def _supervise(self) -> None:
        """Put threads in the place of the stalled ones, more of them the more there are: a fleet may hang as a whole."""
        while not self.over.wait(_LOOK_EVERY) and not self.waiting.empty() and self.threads < self.limit:
            now = time.monotonic()
            stalled = sum(1 for since in list(self.busy_since.values()) if now - since > STALLED)
            self._add(self.concurrency + 2 * stalled - self.threads if stalled else 0)
