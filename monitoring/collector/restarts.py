"""What a row of `started_at` tells: deploys, crashes, and several hosts that hide behind one address. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

REMEMBERED = 16
"""Polls of an instance of which `started_at` is kept."""

MANY = 4
"""From so many restarts among these polls on it is no deploy any more."""


def remember(starts: Sequence[float], started_at: float) -> list[float]:
    """The starts of the last polls, with this one's as the last."""
    return [*starts, started_at][-REMEMBERED:]


def came_back(starts: Sequence[float]) -> bool:
    """Whether a process answered again after another one had: a process that was restarted never does."""
    return any(one in starts[:index] for index, (before, one) in enumerate(itertools.pairwise(starts)) if one != before)


def judge(starts: Sequence[float], told: bool = True) -> str:
    """What is odd about the starts of the last polls, with its remedy; empty where nothing is.

    `told`: the instance tells its starts; else each is a poll at which counts had fallen.
    """
    number = len(set(starts))
    if came_back(starts):
        return (
            f"{number} processes that count apart answer at this address in turn, so their counts cannot be added up: register"
            " each host's own address as an instance (processes on one host share their counts through STATE_DIR)"
        )
    if number > MANY:
        hosts = "" if told else ", or several hosts answer at this address: then register each one's own"
        return f"it restarted {number - 1} times in the last {len(starts)} polls{hosts}"
    return ""
