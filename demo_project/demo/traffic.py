"""Requests to the test servers, a few a second, so that there is something to see."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Mapping

import requests

_TIMEOUT = 8.0
_PING_SHARE = 0.3


class Traffic:
    """One thread a service, one request at a time each: what is slow gets less, and nothing piles up."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        """`rates`: requests per second, by the address of a service."""
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=item, name=f"traffic to {item[0]}", daemon=True) for item in rates.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No new requests from now on; one that is under way is left to itself."""
        self._stopping.set()

    def _send(self, address: str, rate: float) -> None:
        chance = random.Random()
        with requests.Session() as session:
            session.trust_env = False  # no proxy stands between this machine and itself
            while not self._stopping.wait(chance.expovariate(rate)):
                path = "/ping" if chance.random() < _PING_SHARE else "/process"
                with contextlib.suppress(requests.RequestException):  # failing is what some of them are there for
                    session.get(address + path, timeout=_TIMEOUT)
