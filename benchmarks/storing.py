"""From documents into the history, rollups included: CPU time and memory of the collector's storing half.

    python -m benchmarks.storing [--services 1000] [--endpoints 50] [--rounds 25] [--database JSON]

Each round stores one poll of each service, in which every endpoint had requests, then rolls up what is due at that minute. CPU
seconds of this process: the median of storing, and the mean of rolling up over whole turns of ten rounds, as services take turns.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from benchmarks.project import setup

START = datetime(2026, 7, 1, 11, 59, tzinfo=timezone.utc)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=25, help="minutes; the first ones lay baselines and create endpoints")
    parser.add_argument("--database", type=json.loads, help="an entry of DATABASES as JSON; a new SQLite file without it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        setup(Path(f"{folder}/storing.sqlite3"), options.database)
        measure(options.services, options.endpoints, options.rounds)


def measure(services: int, endpoints: int, rounds: int) -> None:
    from django.core.management import call_command

    from monitoring.collector import history
    from monitoring.collector.outcomes import Outcome
    from monitoring.collector.sinks.database import store
    from monitoring.conf import Retention
    from monitoring.models import Instance, Service

    call_command("migrate", verbosity=0)
    history.prepare()
    registered_at = START - timedelta(days=1)
    watched = []
    for number in range(services):
        service = Service.objects.create(name=f"service-{number}", registered_at=registered_at)
        url = f"http://service-{number}:8000/metrics"
        watched.append((service, Instance.objects.create(service=service, url=url, registered_at=registered_at)))
    stored, kept = [], []
    documents = Documents(endpoints)
    for minute in range(rounds):
        now = START + timedelta(minutes=minute)
        spent = 0.0
        for service, instance in watched:
            document = documents.at(minute)
            begun = time.process_time()
            store(service, [Outcome(instance, now, 0.01, document)])
            spent += time.process_time() - begun
        stored.append(spent)
        begun = time.process_time()
        failed = history.keep_up(now + timedelta(seconds=5), Retention())
        kept.append(time.process_time() - begun)
        assert not failed, failed
    steady = slice(2, None)  # the first round is the baseline, the second creates the endpoints
    # Services take turns over ten rounds: a whole number of tens, after the first ones, tells what a round costs.
    tens = kept[-10 * max(1, (len(kept) - 12) // 10) :]
    print(f"{services} services, {endpoints} endpoints each, {rounds} rounds")
    print(f"stored: {statistics.median(stored[steady]):.2f} CPU s a round (first {stored[0]:.2f}, second {stored[1]:.2f})")
    print(f"rolled up and pruned: {statistics.mean(tens):.2f} CPU s a round, at most {max(kept):.2f}")
    print(f"together: {statistics.median(stored[steady]) + statistics.mean(tens):.2f} CPU s a round")
    print(f"a service: {(statistics.median(stored[steady]) + statistics.mean(tens)) / services * 1000:.2f} CPU ms")
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")


class Documents:
    """Counters that grow, with histograms of 16 buckets and three status codes, made anew for each poll as parsing does."""

    def __init__(self, endpoints: int) -> None:
        chance = random.Random(3)
        self.rates = [(chance.randint(1, 50), chance.randint(-36, -20)) for _ in range(endpoints)]

    def at(self, minute: int) -> Any:
        from monitoring.wire import EndpointMetrics, MetricsDocument

        made = {}
        for number, (rate, lowest) in enumerate(self.rates):
            count = rate * (minute + 1) * 32
            buckets = {lowest + index: rate * (minute + 1) * 2 for index in range(16)}
            codes = {200: count - 2 * rate * (minute + 1), 404: rate * (minute + 1), 500: rate * (minute + 1)}
            one = EndpointMetrics("GET", f"/api/v1/things-{number}/<int:pk>/", count, count * 0.0125, 0.5, codes, buckets)
            made[one.key] = one
        return MetricsDocument("service", made, 1.0, 4, 0, 0)


if __name__ == "__main__":
    main()
