"""The history to VictoriaMetrics: how fast manage.py export_history is, and how much memory it takes.

    python -m benchmarks.export [--services 20] [--endpoints 20] [--share 0.05] [--database JSON]

A history as benchmarks.history fills it, up to now, and a VictoriaMetrics of its own on the same machine (Debian: apt install
victoria-metrics), whose share of the processors counts as well.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.history import fill
from benchmarks.project import setup


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--services", type=int, default=20)
    parser.add_argument("--endpoints", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.05, help="of each resolution's days")
    parser.add_argument("--database", type=json.loads, help="an entry of DATABASES as JSON; a new SQLite file without it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        setup(Path(f"{folder}/history.sqlite3"), options.database)
        fill(options.services, options.endpoints, options.share, datetime.now(timezone.utc))
        measure(Path(folder))


def measure(folder: Path) -> None:
    from django.conf import settings
    from django.core.management import call_command

    from tests.live.servers import victoria_metrics_server

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with victoria_metrics_server(folder) as server:
        settings.MONITORING = {"INFLUXDB": {"URL": server.url, "BUCKET": "fleet"}}
        begun, spent = time.perf_counter(), time.process_time()
        call_command("export_history", "--since=800d")
        print(f"{time.perf_counter() - begun:.1f} s, {time.process_time() - spent:.1f} CPU s of the command")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"memory: {after / 1024:.0f} MB at most, {before / 1024:.0f} MB of it before")


if __name__ == "__main__":
    main()
