"""From polled documents over the outbox to VictoriaMetrics' acknowledgement: CPU time of the collector for 50,000 points.

    python -m benchmarks.outbox [--services 1000] [--endpoints 50] [--rounds 7] [--database JSON]

Each round has one poll of each service, in which every endpoint had requests, with histograms of 16 buckets and three status
codes. CPU seconds of this process, medians of the rounds after the first two; importing influxdb_client, which happens once in a
process, is told apart. Needs victoria-metrics (Debian: victoria-metrics).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from benchmarks.project import setup
from benchmarks.storing import Documents
from tests.live.servers import victoria_metrics_server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--database", type=json.loads, help="an entry of DATABASES as JSON; a new SQLite file without it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, victoria_metrics_server(Path(folder)) as server:
        setup(Path(f"{folder}/outbox.sqlite3"), options.database)
        measure(server.url, options.services, options.endpoints, options.rounds)


class Watch:
    """CPU seconds of this process by step; what a step within another takes is not counted twice."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._within: list[float] = []

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._within.append(0.0)
        begun = time.process_time()
        try:
            yield
        finally:
            took = time.process_time() - begun
            self.spent[name] += took - self._within.pop()
            if self._within:
                self._within[-1] += took

    def each(self, owner: Any, function: str, name: str) -> None:
        """From now on, count what calls of this function take."""
        original: Callable[..., Any] = getattr(owner, function)

        def counted(*args: Any, **options: Any) -> Any:
            with self.step(name):
                return original(*args, **options)

        setattr(owner, function, counted)


def measure(url: str, services: int, endpoints: int, rounds: int) -> None:
    from django.core.management import call_command
    from django.db import transaction

    from monitoring.collector import forwarding, history, intervals, outbox, points
    from monitoring.collector.sinks import influxdb
    from monitoring.collector.sinks.base import PolledInstance
    from monitoring.conf import InfluxDB

    call_command("migrate", verbosity=0)
    history.prepare()
    begun = time.process_time()
    import influxdb_client.client.influxdb_client  # noqa: F401

    imported = time.process_time() - begun
    watch = Watch()
    watch.each(points, "lines", "building")
    watch.each(outbox, "pack_lines", "packing")
    watch.each(outbox, "next_batch", "reading, unpacking")
    watch.each(influxdb.gzip, "compress", "compressing")
    watch.each(influxdb.InfluxDBConnection, "send", "sending")
    watch.each(outbox, "acknowledge", "acknowledging")
    sink = influxdb.InfluxDBSink(InfluxDB(url, "", "", "fleet", 60))
    bounds = outbox.Bounds(10**12, timedelta(days=36500))
    documents = Documents(endpoints)
    start = datetime.now(timezone.utc) - timedelta(hours=1)
    found: list[dict[str, float]] = []
    written = 0
    for minute in range(rounds):
        now, document = start + timedelta(minutes=minute + 1), documents.at(minute + 1)
        baseline = intervals.Baseline(documents.at(minute), start + timedelta(minutes=minute))
        interval = intervals.between(baseline, document, now, start - timedelta(days=1))
        fleet = [
            PolledInstance(f"service-{one}", f"service-{one}:8000", now, 0.01, "", document, interval) for one in range(services)
        ]
        watch.spent.clear()
        for polled in fleet:
            with watch.step("storing"), transaction.atomic():
                outbox.put([polled])
        with watch.step("the rest"):
            report = forwarding.deliver(sink, bounds, seconds=600)
        if report.error or report.waiting or report.rejected:
            raise SystemExit(f"VictoriaMetrics did not take all: {report}")
        written = report.delivered
        found.append(dict(watch.spent))
    print(f"{written:,} points of {services} services; importing influxdb_client once: {imported:.2f} CPU s")
    steady = found[2:] or found
    for name in steady[0]:
        print(f"{statistics.median(one[name] for one in steady):6.3f} CPU s  {name}")
    totals = [sum(one.values()) for one in steady]
    print(f"{statistics.median(totals):6.3f} CPU s  in all, {min(totals):.3f} to {max(totals):.3f}")


if __name__ == "__main__":
    main()
