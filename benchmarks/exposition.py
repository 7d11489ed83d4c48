"""What reading the metrics of many workers costs: `python -m benchmarks.exposition`.

Eight processes count 600 endpoints with three status codes each, with this project's store and with prometheus_client's
multiprocess mode: a histogram for each endpoint and a counter for each of its status codes, which are the same numbers, or, as
OpenTelemetry's conventions have it, a histogram for each endpoint and status code. Then one process reads all of it and renders
it, in interleaved rounds. Machines are noisy: quote the ratios.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

STATUSES = (200, 404, 500)


def count_with_ours(folder: str, endpoints: int, ready: multiprocessing.Barrier, over: multiprocessing.Event) -> None:
    from monitoring.instrument.metrics import RequestMetrics

    metrics = RequestMetrics("benchmark", Path(folder), 1000)
    table = metrics.open()
    for number in range(endpoints):
        row = metrics.find_row(f"endpoint/{number}/", "GET", f"/endpoint/{number}/")
        for step, status in enumerate(STATUSES * 3):
            table.record(row, status, 0.0, 0.001 * 2**step)
    ready.wait()
    over.wait()


def count_with_prometheus_client(
    folder: str, endpoints: int, ready: multiprocessing.Barrier, over: multiprocessing.Event
) -> None:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    from prometheus_client import Counter, Histogram

    requests = Counter("http_server_requests", "Requests", ["method", "route", "status"])
    durations = Histogram("http_server_request_duration_seconds", "Durations", ["method", "route"])
    for number in range(endpoints):
        route = f"/endpoint/{number}/"
        for step, status in enumerate(STATUSES * 3):
            requests.labels("GET", route, str(status)).inc()
            durations.labels("GET", route).observe(0.001 * 2**step)
    ready.wait()
    over.wait()


def count_with_a_histogram_a_status(
    folder: str, endpoints: int, ready: multiprocessing.Barrier, over: multiprocessing.Event
) -> None:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    from prometheus_client import Histogram

    durations = Histogram("http_server_request_duration_seconds", "Durations", ["method", "route", "status"])
    for number in range(endpoints):
        for step, status in enumerate(STATUSES * 3):
            durations.labels("GET", f"/endpoint/{number}/", str(status)).observe(0.001 * 2**step)
    ready.wait()
    over.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--endpoints", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    counting = (count_with_ours, count_with_prometheus_client, count_with_a_histogram_a_status)
    with tempfile.TemporaryDirectory() as parent:
        folders = [tempfile.mkdtemp(dir=parent) for _ in counting]
        ready, over = context.Barrier(len(counting) * options.workers + 1), context.Event()
        workers = [
            context.Process(target=target, args=(folder, options.endpoints, ready, over))
            for target, folder in zip(counting, folders, strict=True)
            for _ in range(options.workers)
        ]
        for worker in workers:
            worker.start()
        ready.wait()
        try:
            compare(*folders, options)
        finally:
            over.set()
            for worker in workers:
                worker.join()


def compare(ours: str, theirs: str, with_status: str, options: argparse.Namespace) -> None:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = theirs
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    from monitoring import exposition
    from monitoring.instrument.metrics import RequestMetrics

    registry, registry_with_status = CollectorRegistry(), CollectorRegistry()
    MultiProcessCollector(registry, theirs)
    MultiProcessCollector(registry_with_status, with_status)
    metrics = RequestMetrics("benchmark", Path(ours), 1000)
    document = metrics.snapshot()
    counted = sum(endpoint.count for endpoint in document.endpoints.values())
    expected = options.workers * options.endpoints * 3 * len(STATUSES)
    assert counted == expected, f"{counted} requests were read of {expected}"
    renderings = {
        "ours, JSON": lambda: exposition.to_json(metrics.snapshot()),
        "ours, Prometheus text": lambda: exposition.to_prometheus(metrics.snapshot()),
        "prometheus_client, multiprocess": lambda: generate_latest(registry),
        "the same, histograms by status": lambda: generate_latest(registry_with_status),
    }
    times: dict[str, list[float]] = {name: [] for name in renderings}
    for _ in range(options.rounds):
        for name, render in renderings.items():
            started = time.perf_counter()
            render()
            times[name].append(time.perf_counter() - started)
    fastest = statistics.median(times["ours, JSON"])
    print(
        f"{options.workers} workers, {options.endpoints} endpoints, {len(STATUSES)} status codes each: median of {options.rounds}"
    )
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:34}{median * 1000:9.1f} ms{median / fastest:9.1f} x")
    held = sum(file.stat().st_size for file in Path(ours).glob("worker-*")) / len(list(Path(ours).glob("worker-*")))
    print(f"one worker's file: {held / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
