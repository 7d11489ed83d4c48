"""What a round of polling costs: CPU seconds and memory of the collector, for fleets of several sizes.

    python -m benchmarks.collector [--services 100 1000 5000] [--endpoints 50] [--rounds 5]

nginx (Debian: nginx-light) serves the documents, a file a service, each under an address of its own of 127.0.0.0/8, so that every
service has its own connection. Each size is measured in a fresh process: first one round as `--due` does it, on new connections,
then rounds as `--loop` does them, on kept ones. What is measured is polled and parsed, not stored.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import django
from django.conf import settings

NGINX = """
daemon off; master_process off; worker_rlimit_nofile 20000; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 18000; }}
http {{
    access_log off; default_type application/json; keepalive_timeout 600s; keepalive_requests 100000; open_file_cache max=10000;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 0.0.0.0:{port} backlog=4096; root {folder}/documents; }}
}}
"""


def address(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


def write_documents(folder: Path, services: int, endpoints: int) -> int:
    """The documents of a fleet whose durations look like those of real services; the bytes of one."""
    from monitoring import histogram, wire

    random.seed(7)
    folder.mkdir()
    size = 0
    for number in range(services):
        found = []
        for index in range(endpoints):
            typical = random.lognormvariate(-4, 1)
            durations = [typical * random.lognormvariate(0, 0.8) for _ in range(200)]
            buckets: dict[int, int] = {}
            for duration in durations:
                bucket = histogram.bucket_index(duration)
                buckets[bucket] = buckets.get(bucket, 0) + random.randrange(1, 2000)
            count = sum(buckets.values())
            codes = {200: count - count // 50, 404: count // 50 - count // 500, 500: count // 500}
            route = f"/api/v1/resource-{index}/<int:pk>/"
            found.append(wire.EndpointMetrics("GET", route, count, sum(durations), max(durations), codes, buckets))
        document = wire.MetricsDocument(f"service-{number}", {one.key: one for one in found}, 1.7e9 + number, 4, 2, 0)
        text = json.dumps(wire.dump(document))
        size = len(text)
        (folder / f"{number}.json").write_text(text)
    return size


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """nginx with the folder's documents, while it is needed; its port."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        port = listener.getsockname()[1]
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    process = subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    try:
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 5):
                break
            if process.poll() is not None:
                raise SystemExit("nginx did not start: is it installed (apt install nginx-light)?")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def set_up() -> None:
    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "monitoring"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def measure(services: int, port: int, rounds: int, queue: multiprocessing.Queue[dict[str, float]]) -> None:
    set_up()
    from django.core.management import call_command

    from monitoring.collector.polling import poll_services
    from monitoring.collector.transport import Session
    from monitoring.models import Instance, Service

    call_command("migrate", verbosity=0)
    Service.objects.bulk_create(Service(name=f"service-{number}") for number in range(services))
    Instance.objects.bulk_create(
        Instance(service=service, url=f"http://{address(number)}:{port}/{number}.json")
        for number, service in enumerate(Service.objects.order_by("pk"))
    )
    fleet = list(Service.objects.prefetch_related("instances"))
    before = rss_mb()

    def one_round(session: Session | None) -> tuple[float, float]:
        start, cpu = time.perf_counter(), cpu_seconds()
        report = poll_services(fleet, dry_run=True, session=session)
        took = time.perf_counter() - start, cpu_seconds() - cpu
        assert report.ok, next(one.error for one in report.services if one.error)
        return took

    fresh = [one_round(None) for _ in range(rounds)]
    with Session(keep=services) as session:
        one_round(session)
        kept = [one_round(session) for _ in range(rounds)]
    queue.put(
        {
            "fresh_cpu": statistics.median(cpu for _, cpu in fresh),
            "fresh_wall": statistics.median(wall for wall, _ in fresh),
            "kept_cpu": statistics.median(cpu for _, cpu in kept),
            "kept_wall": statistics.median(wall for wall, _ in kept),
            "before": before,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--endpoints", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx leaves root behind
        size = write_documents(folder / "documents", max(options.services), options.endpoints)
        print(f"{options.endpoints} endpoints a service, {size / 1000:.0f} kB a document.")
        print(f"CPU seconds a round, medians of {options.rounds}:\n")
        print("| services | new connections | ms each | kept connections | ms each | wall s (kept) | RSS before, peak MB |")
        print("|---:|---:|---:|---:|---:|---:|---:|")
        with nginx(folder) as port:
            for services in options.services:
                queue: multiprocessing.Queue[dict[str, float]] = context.Queue()
                process = context.Process(target=measure, args=(services, port, options.rounds, queue))
                process.start()
                found = queue.get()
                process.join()
                print(
                    f"| {services:,} | {found['fresh_cpu']:.2f} | {1000 * found['fresh_cpu'] / services:.2f} |"
                    f" {found['kept_cpu']:.2f} | {1000 * found['kept_cpu'] / services:.2f} | {found['kept_wall']:.2f} |"
                    f" {found['before']:.0f}, {found['peak']:.0f} |"
                )


if __name__ == "__main__":
    main()
