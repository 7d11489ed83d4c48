"""What a receiver in the place of InfluxDB does with lines, and what these say."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from monitoring.collector import points
from tests.receiver import NO_CONTENT, Answer


def forwarded(url: str, bucket: str) -> Callable[[list[str]], Answer]:
    """What a server there answers to lines."""

    def judge(lines: list[str]) -> Answer:
        address = f"{url}/api/v2/write?bucket={bucket}&precision={points.PRECISION}"
        try:
            with urlopen(Request(address, "\n".join(lines).encode(), method="POST"), timeout=10) as response:
                return response.status, {}, response.read()
        except HTTPError as error:
            return error.code, {}, error.read()

    return judge


def stamps(lines: list[str]) -> list[int]:
    return [int(line.rpartition(" ")[2]) for line in lines]


class Holding:
    """A judge that takes lines, and keeps its answer back until it may give it."""

    def __init__(self) -> None:
        self.took, self.answer = threading.Event(), threading.Event()
        self.busy = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, lines: list[str]) -> Answer:
        with self.lock:
            self.busy += 1
            self.most = max(self.most, self.busy)
        self.took.set()
        self.answer.wait(60)
        with self.lock:
            self.busy -= 1
        return NO_CONTENT


def polls(lines: list[str]) -> set[tuple[str, int]]:
    """The polls whose points these are: the service, and the milliseconds."""
    return {(line.partition("service=")[2].partition(" ")[0], stamps([line])[0]) for line in lines if ",service=" in line}


STORED = "[list(one) for one in Availability.objects.filter(resolution=0).values_list('service__name', 'end')]"
