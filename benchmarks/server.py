"""Requests per second that are left: `python -m benchmarks.server`, with gunicorn's two sync workers under wrk.

Each variant's server is started once and then loaded in turn, so that every measurement has its neighbour without middleware: the
loss is the median over the rounds of the ratio to that neighbour.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

VARIANTS = ("nothing", "ours: metrics", "ours: metrics and tracing", "django-prometheus", "OpenTelemetry: traces and metrics")


def serve(variant: str, folder: str) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{port}", "--log-level", "error"]
    environment = {**os.environ, "VARIANT": variant, "FOLDER": folder}
    server = subprocess.Popen([*command, "benchmarks.application:application"], env=environment)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server, port
        time.sleep(0.1)
    raise SystemExit(f"{variant} does not listen: see its output above.")


def requests_per_second(port: int, seconds: float) -> float:
    command = ["wrk", "-t1", "-c4", f"-d{seconds}s", f"http://127.0.0.1:{port}/sync/"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None or "Non-2xx" in output:
        raise SystemExit(output)
    return float(found.group(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        servers = {variant: serve(variant, folder) for variant in VARIANTS}
        try:
            for _server, port in servers.values():
                requests_per_second(port, 1)
            rates: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
            for _ in range(options.rounds):
                for variant, (_server, port) in servers.items():
                    rates[variant].append(requests_per_second(port, options.seconds))
        finally:
            for server, _port in servers.values():
                server.send_signal(signal.SIGTERM)
            for server, _port in servers.values():
                server.wait()
    print(f"{'':36}{'requests/s':>12}{'left':>8}")
    for variant, values in rates.items():
        left = statistics.median(value / floor for value, floor in zip(values, rates["nothing"], strict=True))
        print(f"{variant:36}{statistics.median(values):12.0f}{left:8.1%}")


if __name__ == "__main__":
    main()
