"""What a request pays for being measured: `python -m benchmarks.middleware`.

A process holds two handlers: a variant's, and the floor's, which has an empty middleware. They take turns, and what counts is the
difference between two that ran one after the other in one process. So both have the same memory layout and hash seed, which alone
make one process several microseconds a request faster or slower than the next, and the same moment of a noisy machine. Before
each measurement some requests go untimed, for a process that was just switched to has cold caches. Time is the CPU time of all
the process's threads: by the wall clock one that is preempted pays for its neighbours, the more often the longer it takes.

An instance is a set of fresh processes, one a variant, whose rounds are interleaved; the figure of an instance is the median over
its rounds, that of a variant the median over its instances. The empty middleware is measured against itself, too: how far it is
from 0 is what the figures may be wrong by.

Under WSGI the whole handler runs; under ASGI what it calls for a request (`get_response_async`: middleware, URL resolver, view),
because the handler's own thread hops, the same for all, drown the rest. Machines are noisy: quote the ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.variants import MIDDLEWARE, configure

INTERFACES = ("WSGI", "ASGI")
MEMORY = Path("/dev/shm")  # what all variants write lies here if it can, for OpenTelemetry's spans are dropped, not written
DISK = Path("/var/tmp")

Run = Callable[[int], float]
"""Make that many requests; the seconds of CPU time that one took."""


def serve_rounds(variant: str, interface: str, folder: str, disk: str) -> None:
    """The child: for each line with a number of requests, make that many with each handler; answer with both times in seconds."""
    configure(variant, folder, disk)
    from django.conf import settings

    make = _wsgi if interface == "WSGI" else _asgi
    measured = make()
    settings.MIDDLEWARE = MIDDLEWARE["empty"]
    runs = [make(), measured]
    for run in runs:
        run(200)
    print("ready", flush=True)
    order = [0, 1]
    for line in sys.stdin:
        requests = int(line)
        seconds = [0.0, 0.0]
        for which in order:
            runs[which](max(1, requests // 4))
            seconds[which] = runs[which](requests)
        order.reverse()
        print(json.dumps(seconds), flush=True)


def _wsgi() -> Run:
    from io import BytesIO

    from django.core.handlers.wsgi import WSGIHandler

    handler = WSGIHandler()
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/sync/",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
    }

    def run(requests: int) -> float:
        started = time.process_time()
        for _ in range(requests):
            environ["wsgi.input"] = BytesIO()
            response = handler(dict(environ), lambda status, headers: None)
            response.close()
        return (time.process_time() - started) / requests

    return run


def _asgi() -> Run:
    import asyncio
    from io import BytesIO

    from django.core.handlers.asgi import ASGIHandler, ASGIRequest

    handler = ASGIHandler()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/async/",
        "raw_path": b"/async/",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    loop = asyncio.new_event_loop()

    async def many(requests: int) -> float:
        started = time.process_time()
        for _ in range(requests):
            await handler.get_response_async(ASGIRequest(dict(scope), BytesIO()))
        return (time.process_time() - started) / requests

    return lambda requests: loop.run_until_complete(many(requests))


def measure_instance(interface: str, rounds: int, requests: int, *folders: str) -> dict[str, tuple[float, float]]:
    """Of fresh processes, one a variant: its floor's median microseconds a request, and those that it adds."""
    children = {}
    for variant in MIDDLEWARE:
        children[variant] = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.middleware", "--child", variant, interface, *folders],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    times: dict[str, list[tuple[float, float]]] = {variant: [] for variant in MIDDLEWARE}
    try:
        for variant, child in children.items():
            if child.stdout.readline() != "ready\n":
                raise SystemExit(f"{variant} did not start: see its traceback above, and install benchmarks/requirements.txt")
        for _ in range(rounds):
            for variant, child in children.items():
                number = max(1, requests // 20) if variant == "django-silk" else requests
                child.stdin.write(f"{number}\n")
                child.stdin.flush()
                floor, seconds = json.loads(child.stdout.readline())
                times[variant].append((floor * 1e6, (seconds - floor) * 1e6))
    finally:
        for child in children.values():
            child.stdin.close()
            child.wait()
    return {
        variant: (statistics.median(floor for floor, _ in pairs), statistics.median(added for _, added in pairs))
        for variant, pairs in times.items()
    }


def compare(interface: str, instances: int, rounds: int, requests: int, *folders: str) -> dict[str, list[tuple[float, float]]]:
    """By variant, what measure_instance() found in each instance."""
    found: dict[str, list[tuple[float, float]]] = {variant: [] for variant in MIDDLEWARE}
    for _ in range(instances):
        for variant, figures in measure_instance(interface, rounds, requests, *folders).items():
            found[variant].append(figures)
    return found


def report(interface: str, found: dict[str, list[tuple[float, float]]]) -> None:
    added = {variant: [figures[1] for figures in instances] for variant, instances in found.items()}
    median = {variant: statistics.median(figures) for variant, figures in added.items()}
    floor = statistics.median(figures[0] for instances in found.values() for figures in instances)
    print(f"\n{interface}: CPU microseconds added to the {floor:.1f} of a request with an empty middleware; how many times ours")
    print(f"{'':40}{'added':>9}{'instances':>20}{'/metrics':>10}{'/both':>8}")
    for variant, figures in added.items():
        ratios = [median[variant] / median["ours: metrics"], median[variant] / median["ours: metrics and tracing"]]
        compared = "" if variant in ("nothing", "empty") else "{:10.1f}{:8.1f}".format(*ratios)
        spread = f"{min(figures):.1f} to {max(figures):.1f}"
        print(f"{variant:40}{median[variant]:9.2f}{spread:>20}{compared}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=7, help="fresh processes of each variant")
    parser.add_argument("--rounds", type=int, default=20, help="of each process")
    parser.add_argument("--requests", type=int, default=300, help="in each round, with either handler")
    parser.add_argument("--interface", choices=INTERFACES, action="append", help="only this one")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        serve_rounds(*options.child)
        return
    sizes = options.instances, options.rounds, options.requests
    places = (place if place.is_dir() else None for place in (MEMORY, DISK))
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory(dir=place)) for place in places]
        results = {interface: compare(interface, *sizes, *folders) for interface in options.interface or INTERFACES}
    if options.json:
        print(json.dumps(results, indent=1))
        return
    for interface, found in results.items():
        report(interface, found)


if __name__ == "__main__":
    main()
