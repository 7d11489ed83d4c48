"""From documents to the lines that InfluxDB gets: CPU time of the collector for 50,000 points.

    python -m benchmarks.points [--endpoints 50] [--points 50000] [--repeat 7]

Every endpoint had requests in the interval, with histograms of 16 buckets and three status codes. Quickest and median run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from benchmarks.project import setup
from benchmarks.storing import START, Documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--endpoints", type=int, default=50)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        setup(Path(f"{folder}/unused.sqlite3"))
        measure(options.endpoints, options.points, options.repeat)


def measure(endpoints: int, number: int, repeat: int) -> None:
    from monitoring.collector import intervals, points
    from monitoring.collector.sinks.base import PolledInstance

    documents = Documents(endpoints)
    baseline = intervals.Baseline(documents.at(1), START)
    now, document = START + timedelta(minutes=1), documents.at(2)
    interval = intervals.between(baseline, document, now, START - timedelta(days=1))
    services = -(-number // (endpoints + 1))
    fleet = [
        PolledInstance(f"service-{one}", f"service-{one}:8000", now, 0.01, "", document, interval) for one in range(services)
    ]
    runs = []
    for _ in range(repeat):
        begun = time.process_time()
        written = sum(len(points.lines(one)) for one in fleet)
        runs.append((time.process_time() - begun) * number / written)
    size = sum(len(line) + 1 for line in points.lines(fleet[0])) // (endpoints + 1)
    print(f"{number:,} points of {size} bytes: {min(runs):.2f} to {statistics.median(runs):.2f} CPU s")


if __name__ == "__main__":
    main()
