"""`python -m grafana.stack.traffic`: requests to the test servers, as `manage.py demo` sends them, until SIGTERM."""

from __future__ import annotations

import signal
import threading

from demo_project.demo.traffic import Traffic
from demo_project.services.behaviour import SERVICES


def main() -> None:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    traffic = Traffic({f"http://{name}:8000": behaviour.traffic for name, behaviour in SERVICES.items()})
    traffic.start()
    stopping.wait()
    traffic.stop()


if __name__ == "__main__":
    main()
