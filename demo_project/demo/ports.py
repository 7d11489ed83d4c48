"""Which ports the demo's processes get."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

from demo_project.demo.errors import DemoError

HOST = "127.0.0.1"
MONITOR = "monitor"
DEFAULT_BASE = 8000
FIRST_SERVICE = 81
"""The first service's distance from the base."""

_HIGHEST = 65535


def wanted_ports(base_port: int, services: tuple[str, ...]) -> dict[str, int]:
    """The monitor on the base, the services from 81 above it on. Raises DemoError where these are no ports."""
    highest_base = _HIGHEST - FIRST_SERVICE - len(services) + 1
    if not 1 <= base_port <= highest_base:
        raise DemoError(f"The base port is {base_port}: choose one from 1 to {highest_base}, such as {DEFAULT_BASE}.")
    return {MONITOR: base_port} | {name: base_port + FIRST_SERVICE + index for index, name in enumerate(services)}


def choose_ports(wanted: Mapping[str, int], is_free: Callable[[int], bool]) -> dict[str, int]:
    """The wanted ports, and where one is not free the next one above that is, and that no other process wants."""
    chosen: dict[str, int] = {}
    for name, port in wanted.items():
        others = {*wanted.values()} - {port} | {*chosen.values()}
        candidates = (other for other in range(port, _HIGHEST + 1) if other not in others and is_free(other))
        found = next(candidates, None)
        if found is None:
            raise DemoError(f"No port from {port} on is free for {name}: choose a lower --base-port.")
        chosen[name] = found
    return chosen


def is_free(port: int) -> bool:
    """Whether a server of this user could listen there, and nobody answers there yet."""
    with socket.socket() as client:
        client.settimeout(1)
        if client.connect_ex((HOST, port)) == 0:
            return False
    with socket.socket() as server:
        if os.name == "posix":  # as Django's web server does: connections that linger from an earlier one do not count
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
        except OSError:
            return False
    return True
