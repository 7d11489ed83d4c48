"""A year of history, as it would then stand: how large it is, and how long the pages' queries take.

    python -m benchmarks.history [--services 100] [--endpoints 20] [--share 1.0] [--keep FILE]

Every endpoint has requests in every interval, which is the most there can be. Rows are written as the collector writes them,
those of each resolution as far back as it is kept by default. The queries are the pages' own, with their rows fetched; a page's
time is that of all its queries and of what Python makes of them. Medians, the file in the operating system's cache.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

from benchmarks.project import setup

NOW = datetime(2026, 7, 1, 15, 37, 20, tzinfo=timezone.utc)  # in the middle of everything: the finer rows are read as well
YEAR = 365
POOL = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--services", type=int, default=100)
    parser.add_argument("--endpoints", type=int, default=20)
    parser.add_argument("--share", type=float, default=1.0, help="this share of each resolution's days only, for a quick look")
    parser.add_argument("--keep", help="where the database is to be left; read as it is where it exists")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.keep or f"{folder}/history.sqlite3")
        filled = path.exists()
        setup(path)
        if not filled:
            fill(options.services, options.endpoints, options.share)
        report_size(path)
        report_queries()


def fill(services: int, endpoints: int, share: float, until: datetime = NOW) -> None:
    from django.core.management import call_command
    from django.db import connection, transaction

    from monitoring.collector import rows
    from monitoring.conf import Retention
    from monitoring.models import ROLLUPS, Endpoint, Instance, Resolution, RolledUp, Service, milliseconds

    call_command("migrate", verbosity=0)
    retention = Retention()
    kept = {
        Resolution.DAY: min(retention.days, YEAR),
        Resolution.HOUR: retention.hours,
        Resolution.TEN_MINUTES: retention.ten_minutes,
        Resolution.POLL: retention.polls,
    }
    now = milliseconds(until)
    long_ago = until - timedelta(days=YEAR)
    routes = {}
    for number in range(services):
        service = Service.objects.create(name=f"service-{number:03}", registered_at=long_ago)
        Instance.objects.create(
            service=service, url=f"http://service-{number}:8000/metrics", last_polled_at=until, last_success_at=until
        )
        new = [Endpoint(service=service, method="GET", route=f"/api/v1/things-{one}/<int:pk>/") for one in range(endpoints)]
        routes[service.pk] = [one.pk for one in Endpoint.objects.bulk_create(new)]
        marks = {one.column: (now - 900_000) // one.length * one.length for one in ROLLUPS}
        RolledUp.objects.create(service=service, **marks)
    start = time.perf_counter()
    for resolution, days in kept.items():
        made = list(pool(resolution or 60))
        width = resolution.length or 60_000
        last = now if resolution is Resolution.POLL else (now - 900_000) // width * width
        steps = round(days * share * 86_400_000) // width
        for step in range(steps):
            end = last - (steps - 1 - step) * width
            with transaction.atomic():
                for pk, keys in routes.items():
                    at = end - 60_000 + pk * 37  # each a little after the full minute
                    where = (pk, resolution.value, at, pk)
                    picked = step * 31 + pk * 7
                    polls = max(1, width // 60_000)
                    rows.insert([rows.AvailabilityRow(*where, polls, 0, 0.02 * polls, 0.1)])
                    rows.insert([rows.IntervalRow(*where, *made[picked % POOL], width, 0)])
                    rows.insert(
                        [rows.EndpointRow(*where, *made[(picked + 13 * index) % POOL], key) for index, key in enumerate(keys)]
                    )
        print(f"{resolution.name.lower():12} {steps * services * (endpoints + 2):>12,} rows", flush=True)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    print(f"filled in {time.perf_counter() - start:.0f} s")


def pool(seconds: int) -> Iterator[tuple[int, int, float, float, bytes, bytes]]:
    """The numbers of intervals of this length: rare and busy endpoints, fast and slow ones, each with a tail."""
    from monitoring import histogram, packing

    chance = random.Random(7)
    for _ in range(POOL):
        a_minute = chance.choice((2, 20, 60, 300))
        count = a_minute * seconds // 60
        middle, width = chance.uniform(-6.5, -2.5), chance.uniform(0.3, 0.8)
        sample = min(count, 1500)
        buckets: dict[int, int] = {}
        for _ in range(sample):
            slow = 20 if chance.random() < 0.005 else 1
            index = histogram.bucket_index(slow * chance.lognormvariate(middle, width))
            buckets[index] = buckets.get(index, 0) + count // sample
        errors = count // 200
        codes = {code: number for code, number in ((200, count - 2 * errors), (404, errors), (500, errors)) if number}
        longest = histogram.upper_bound(max(buckets))
        yield count, errors, count * chance.uniform(0.01, 0.1), longest, packing.pack_codes(codes), packing.pack_buckets(buckets)


def report_size(path: Path) -> None:
    from monitoring.collector import rows

    counts = {model.__name__: model._default_manager.count() for model in rows.HISTORY.values()}
    size = os.path.getsize(path)
    print(f"{size / 1e9:.2f} GB, {size / sum(counts.values()):.0f} bytes a row", counts)


def report_queries() -> None:
    from monitoring.dashboard import queries
    from monitoring.dashboard.windows import WINDOWS
    from monitoring.models import Service

    pk = Service.objects.order_by("pk")[Service.objects.count() // 2].pk
    heads = ("page", "queries", "worst")
    print(f"{'ms':6}" + "".join(f"{page + ' ' + head:>17}" for page in ("fleet", "service") for head in heads))
    for window in WINDOWS.values():
        cells: list[float] = []
        for page in (partial(queries.fleet, window, NOW), partial(queries.service, pk, window, NOW)):
            each = query_times(page)
            cells += [statistics.median(timed(page) for _ in range(7)), sum(each), max(each)]
        print(f"{window.key:6}" + "".join(f"{1000 * cell:>17.0f}" for cell in cells))


def query_times(page: Callable[[], object]) -> list[float]:
    """How long the database takes for each query of a page, its rows fetched; medians of five, in seconds."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def run(statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            cursor.fetchall()

    with CaptureQueriesContext(connection) as captured:
        page()
    return [statistics.median(timed(partial(run, query["sql"])) for _ in range(5)) for query in captured]


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
