"""What a request pays for being measured: `python -m benchmarks.middleware`.

Every variant is a process of its own. Many short rounds are interleaved over the processes, and the figures are medians over the
rounds, less the empty middleware's. Under WSGI the whole handler runs; under ASGI what it calls for a request
(`get_response_async`: middleware, URL resolver, view), because the handler's own thread hops, the same for all, drown the rest.
Machines are noisy: quote the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from benchmarks.variants import MIDDLEWARE, configure

INTERFACES = ("WSGI", "ASGI")


def serve_rounds(variant: str, interface: str, folder: str) -> None:
    """The child: for each line with a number of requests, make that many and answer with the seconds that one took."""
    configure(variant, folder)
    run = _wsgi() if interface == "WSGI" else _asgi()
    run(200)
    print("ready", flush=True)
    for line in sys.stdin:
        print(run(int(line)), flush=True)


def _wsgi() -> Callable[[int], float]:
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
        started = time.perf_counter()
        for _ in range(requests):
            environ["wsgi.input"] = BytesIO()
            response = handler(dict(environ), lambda status, headers: None)
            response.close()
        return (time.perf_counter() - started) / requests

    return run


def _asgi() -> Callable[[int], float]:
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
        started = time.perf_counter()
        for _ in range(requests):
            await handler.get_response_async(ASGIRequest(dict(scope), BytesIO()))
        return (time.perf_counter() - started) / requests

    return lambda requests: loop.run_until_complete(many(requests))


def compare(interface: str, rounds: int, requests: int, folder: str) -> dict[str, float]:
    """Median microseconds a request, by variant."""
    children = {}
    for variant in MIDDLEWARE:
        children[variant] = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.middleware", "--child", variant, interface, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    times: dict[str, list[float]] = {variant: [] for variant in MIDDLEWARE}
    try:
        for variant, child in children.items():
            if child.stdout.readline() != "ready\n":
                raise SystemExit(f"{variant} did not start: see its traceback above, and install benchmarks/requirements.txt")
        for _ in range(rounds):
            for variant, child in children.items():
                number = max(1, requests // 20) if variant == "django-silk" else requests
                child.stdin.write(f"{number}\n")
                child.stdin.flush()
                times[variant].append(float(child.stdout.readline()) * 1e6)
    finally:
        for child in children.values():
            child.stdin.close()
            child.wait()
    return {variant: statistics.median(values) for variant, values in times.items()}


def report(interface: str, medians: dict[str, float]) -> None:
    floor = medians["empty"]
    ours = medians["ours: metrics"] - floor
    both = medians["ours: metrics and tracing"] - floor
    print(f"\n{interface}: microseconds a request; added over the empty middleware; how many times ours")
    print(f"{'':36}{'all':>9}{'added':>9}{'/metrics':>10}{'/both':>8}")
    for variant, value in medians.items():
        added = value - floor
        compared = variant not in ("nothing", "empty")
        print(f"{variant:36}{value:9.1f}{added:9.1f}" + (f"{added / ours:10.1f}{added / both:8.1f}" if compared else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--requests", type=int, default=60, help="in each round")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        serve_rounds(*options.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        results = {interface: compare(interface, options.rounds, options.requests, folder) for interface in INTERFACES}
    if options.json:
        print(json.dumps(results, indent=1))
        return
    for interface, medians in results.items():
        report(interface, medians)


if __name__ == "__main__":
    main()
