"""What a request with database queries pays for being traced: `python -m benchmarks.queries`.

As in benchmarks.middleware, each variant is a process of its own with the whole Django handler (WSGI) in it, rounds are
interleaved, and the figures are medians over the rounds of the mean of one round, less the empty middleware's. Measured is the
processor time of all threads of the process, and each round ends when its spans are exported: work that is put off counts.
OpenTelemetry's exporter drops its spans without encoding them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

OURS = ["monitoring.middleware.MetricsMiddleware", "monitoring.middleware.TracingMiddleware"]
FILE = "monitoring.instrument.exporters.FileExporter"
VARIANTS: dict[str, tuple[list[str], float, str | None]] = {
    "empty": (["benchmarks.variants.EmptyMiddleware"], 1.0, None),
    "ours: trace log alone": (OURS, 1.0, None),
    "ours: spans, dropped by their exporter": (OURS, 1.0, "benchmarks.queries.DroppingExporter"),
    "ours: spans, written to a file": (OURS, 1.0, FILE),
    "ours: unsampled": (OURS, 0.0, FILE),
    "OpenTelemetry: Django and sqlite3": ([], 1.0, None),
}
"""Middleware, share that is sampled, exporter."""

QUERIES = [
    f'SELECT "id", "name", "price" FROM "item" WHERE "id" = %s AND "price" > %s ORDER BY "f{n}" LIMIT 21' for n in range(10)
]


class DroppingExporter:
    def export(self, traces: Any) -> None:
        pass


def view(request: Any) -> Any:
    from django.db import connection
    from django.http import HttpResponse

    for sql in QUERIES[: int(request.META["QUERIES"])]:
        with connection.cursor() as cursor:
            cursor.execute(sql, (1, 0.5))
            cursor.fetchall()
    return HttpResponse(b"ok")


def serve_rounds(variant: str, folder: str) -> None:
    """The child: for each line with a number of requests and of queries in each, answer with the seconds that one took."""
    run = _prepare(variant, folder)
    run(100, 10)
    print("ready", flush=True)
    for line in sys.stdin:
        requests, queries = line.split()
        print(run(int(requests), int(queries)), flush=True)


def _prepare(variant: str, folder: str) -> Callable[[int, int], float]:
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.urls import path

    middleware, sample_rate, exporter = VARIANTS[variant]
    exporters = []
    if exporter:
        exporters = [{"BACKEND": exporter, "OPTIONS": {"path": os.path.join(folder, "spans.jsonl")} if exporter == FILE else {}}]
    own = sys.modules[__name__]
    own.urlpatterns = [path("items/", view)]  # type: ignore[attr-defined]
    settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=middleware,
        LOGGING_CONFIG=None,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "CONN_MAX_AGE": None}},
        MONITORING={
            "SERVICE_NAME": "benchmark",
            "STATE_DIR": tempfile.mkdtemp(dir=folder),
            "TRACE_LOG": os.path.join(folder, "trace.log"),
            "SAMPLE_RATE": sample_rate,
            "EXPORTERS": exporters,
        },
    )
    from monitoring.instrument import exporting

    if variant.startswith("OpenTelemetry"):
        from opentelemetry import trace
        from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor

        from benchmarks.variants import _instrument_with_opentelemetry

        _instrument_with_opentelemetry()
        SQLite3Instrumentor().instrument()
        flush = trace.get_tracer_provider().force_flush
    else:
        flush = exporting.flush
    django.setup()
    handler = WSGIHandler()
    from django.db import connection

    with connection.cursor() as cursor:
        columns = ", ".join(f"f{number} integer" for number in range(10))
        cursor.execute(f"CREATE TABLE item (id integer PRIMARY KEY, name text, price real, {columns})")
        cursor.execute("INSERT INTO item (id, name, price) VALUES (1, 'a', 1.0)")
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/items/",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
    }

    def run(requests: int, queries: int) -> float:
        started = time.process_time()
        for _ in range(requests):
            response = handler({**environ, "QUERIES": queries, "wsgi.input": BytesIO()}, lambda status, headers: None)
            response.close()
        flush(10)
        return (time.process_time() - started) / requests

    assert run(1, 10) > 0
    return run


def compare(rounds: int, requests: int, folder: str) -> dict[int, dict[str, float]]:
    """Median microseconds a request, by number of queries and variant."""
    children = {}
    for variant in VARIANTS:
        children[variant] = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.queries", "--child", variant, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    times: dict[int, dict[str, list[float]]] = {queries: {variant: [] for variant in VARIANTS} for queries in (0, 10)}
    try:
        for variant, child in children.items():
            if child.stdout.readline() != "ready\n":
                raise SystemExit(f"{variant} did not start: see its traceback above")
        for _ in range(rounds):
            for queries, found in times.items():
                for variant, child in children.items():
                    child.stdin.write(f"{requests} {queries}\n")
                    child.stdin.flush()
                    found[variant].append(float(child.stdout.readline()) * 1e6)
    finally:
        for child in children.values():
            child.stdin.close()
            child.wait()
    return {queries: {name: statistics.median(values) for name, values in found.items()} for queries, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=500, help="in each round")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        serve_rounds(*options.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        results = compare(options.rounds, options.requests, folder)
    for queries, medians in results.items():
        theirs = medians["OpenTelemetry: Django and sqlite3"] - medians["empty"]
        print(f"\n{queries} queries: microseconds a request; added; how many times cheaper than OpenTelemetry")
        for variant, value in medians.items():
            added = value - medians["empty"]
            print(f"{variant:42}{value:9.1f}{added:9.1f}" + (f"{theirs / added:8.1f}" if variant.startswith("ours") else ""))
        sampled = medians["ours: spans, written to a file"] - medians["empty"]
        print(f"unsampled costs {(medians['ours: unsampled'] - medians['empty']) / sampled:.2f} of sampled")


if __name__ == "__main__":
    main()
