"""How each test server behaves: whom it calls, how long it works, and how often it is slow or fails."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Behaviour:
    """Durations in seconds, shares from 0 to 1."""

    calls: tuple[str, ...] = ()
    """The services whose /process its own asks."""
    timeout: float = 2.0
    """How long it waits for each: longer than those may wait themselves."""
    work: tuple[float, float] = (0.002, 0.008)
    slow_share: float = 0.0
    slow_work: tuple[float, float] = (0.3, 0.9)
    failure_share: float = 0.0
    traffic: float = 1.0
    """Requests a second that the demo sends to it, beside those of the other services."""


SERVICES = {
    "test-server1": Behaviour(calls=("test-server2", "test-server3"), timeout=5.0, traffic=3.0),
    "test-server2": Behaviour(calls=("test-server4",), slow_share=0.01),
    "test-server3": Behaviour(work=(0.01, 0.03), slow_share=0.12, failure_share=0.005),
    "test-server4": Behaviour(work=(0.003, 0.015), failure_share=0.03),
}


def draw_work(behaviour: Behaviour, chance: random.Random) -> float:
    """For how many seconds one request works."""
    slow = chance.random() < behaviour.slow_share
    return chance.uniform(*(behaviour.slow_work if slow else behaviour.work))


def draw_failure(behaviour: Behaviour, chance: random.Random) -> bool:
    """Whether one request fails."""
    return chance.random() < behaviour.failure_share
