"""The demo from start to end."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

import requests

from demo_project import places
from demo_project.demo.children import Child, Children
from demo_project.demo.errors import DemoError
from demo_project.demo.ports import HOST, MONITOR
from demo_project.demo.registry import ADMIN, prepare_database
from demo_project.demo.traffic import Traffic
from demo_project.services.behaviour import SERVICES
from monitoring.conf import conf

try:
    import fcntl
except ImportError:  # Windows: nothing warns of a second demo in the same folder
    fcntl = None  # type: ignore[assignment]

COLLECTOR = "collector"
POLL_SECONDS = 3
START_SECONDS = 60.0
"""How long the processes may take to answer; on an idle machine it is two seconds."""

_TICK = 0.1


class _Stopped(Exception):
    """Ctrl-C, or another signal that asks the demo to end."""


class Demo:
    """One run. `ports` are by process name, `say` prints a line, `seconds` is None for a demo that runs until it is stopped."""

    def __init__(self, ports: Mapping[str, int], say: Callable[[str], None], *, seconds: float | None, traffic: bool) -> None:
        self.addresses = {name: f"http://{HOST}:{port}" for name, port in ports.items()}
        self.ports = ports
        self.say = say
        self.ends_at = None if seconds is None else time.monotonic() + seconds
        self.with_traffic = traffic
        self.stopped = False

    def run(self) -> None:
        """Until a signal or the time is up; on return, every process that it started has ended. Raises DemoError."""
        with _alone(), self._signals(), Children() as children:
            with contextlib.suppress(_Stopped):
                self._run(children)
            self.say("Ending ...")

    def _run(self, children: Children) -> None:
        self.say("Starting test-server1 to test-server4 and the monitor ...")
        shutil.rmtree(places.STATE, ignore_errors=True)  # so that what no poll saw between two demos is no part of a rate
        places.prepare()
        services = [self._start_service(children, name) for name in SERVICES]
        password = prepare_database({name: f"{self.addresses[name]}/metrics" for name in SERVICES})
        monitor = self._start_server(children, MONITOR, "demo_project.settings", {"DJANGO_DEBUG": "1"})
        self._wait_until_ready([*services, monitor])
        traffic = Traffic({self.addresses[name]: behaviour.traffic for name, behaviour in SERVICES.items()})
        if self.with_traffic:
            traffic.start()
        try:
            arguments = ["collect_metrics", "--loop", "--every", str(POLL_SECONDS), "--verbosity", "0"]
            # Without DEBUG, in which Django remembers every query.
            collector = children.start(COLLECTOR, arguments, "demo_project.settings", {"DJANGO_DEBUG": "0"})
            self._say_what_to_open(password, services)
            self._watch(services, [monitor, collector])
        finally:
            traffic.stop()

    def _start_service(self, children: Children, name: str) -> Child:
        calls = " ".join(f"{self.addresses[called]}/process" for called in SERVICES[name].calls)
        return self._start_server(children, name, "demo_project.services.settings", {"DEMO_SERVICE": name, "DEMO_CALLS": calls})

    def _start_server(self, children: Children, name: str, settings: str, environment: Mapping[str, str]) -> Child:
        arguments = ["runserver", f"{HOST}:{self.ports[name]}", "--noreload"]
        return children.start(name, arguments, settings, {**environment, "DJANGO_RUNSERVER_HIDE_WARNING": "true"})

    def _wait_until_ready(self, servers: list[Child]) -> None:
        """Until each answers under its own name. Raises DemoError where one does not."""
        deadline = time.monotonic() + START_SECONDS
        for server in servers:
            while not _answers(self.addresses[server.name], server.name):
                if server.ended:
                    raise DemoError(
                        f"{server.name} did not start: it {server.how_it_ended()}\n"
                        "Are the requirements installed (pip install -r requirements.txt)? Has another program just taken port"
                        f" {self.ports[server.name]}? Then try again, or choose others with --base-port."
                    )
                if time.monotonic() > deadline:
                    raise DemoError(
                        f"{server.name} runs, but did not answer at {self.addresses[server.name]}/metrics within"
                        f" {START_SECONDS:.0f} seconds. What it wrote is in {server.output}."
                    )
                self._pause()

    def _say_what_to_open(self, password: str, services: list[Child]) -> None:
        here = Path.cwd()
        logs = places.LOGS.relative_to(here) if places.LOGS.is_relative_to(here) else places.LOGS
        first, third = services[0], services[2]
        self.say(f"""
Monitor   {self.addresses[MONITOR]}/monitoring/
Admin     {self.addresses[MONITOR]}/admin/
Login: {ADMIN} / {password}

A trace   curl -i {self.addresses[first.name]}/process
          {self.addresses[MONITOR]}/monitoring/traces/?trace_id=   and its X-Trace-ID
A failure kill {third.process.pid}    # ends {third.name}: see what the monitor makes of it
A fifth   register {self.addresses[MONITOR]}/metrics in the admin: the monitor watches itself
Logs      {logs}: of each service its trace log NAME.log and its output NAME.out""")
        if conf.INFLUXDB is not None:
            self.say(f"InfluxDB  points go to {conf.INFLUXDB.url} too; what fails there is said in {COLLECTOR}.out")
        self.say("")
        for service in services:
            self.say(f"{service.name}  {self.addresses[service.name]}/process  /ping  /metrics")
        self.say("\nThe first figures come within seconds. Ctrl-C ends everything.")

    def _watch(self, services: list[Child], indispensable: list[Child]) -> None:
        """Until the time is up. A service that ends is what a monitor is for; without monitor or collector there is no demo."""
        running = list(services)
        while self.ends_at is None or time.monotonic() < self.ends_at:
            for child in indispensable:
                if child.ended:
                    raise DemoError(f"The {child.name} {child.how_it_ended()}")
            for service in [service for service in running if service.ended]:
                running.remove(service)
                self.say(f"{service.name} {service.how_it_ended()}\nThe demo goes on without it.")
            self._pause()

    def _pause(self) -> None:
        time.sleep(_TICK)
        if self.stopped:
            raise _Stopped

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals that end the demo are noted, and looked at in every pause: so none comes between a process and its list."""

        def note(number: int, frame: FrameType | None) -> None:
            self.stopped = True

        numbers = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _answers(address: str, name: str) -> bool:
    """Whether this service, and no other, answers there. Reading metrics is not counted in them."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.get(f"{address}/metrics", timeout=5)
            return bool(response.json()["service_name"] == name)
        except (requests.RequestException, ValueError, LookupError, TypeError):
            return False


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two demos in one folder would take each other's counters away. Raises DemoError."""
    with (places.DEMO_DIR / "lock").open("a+") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DemoError(
                    f"A demo is running already, with its files in {places.DEMO_DIR}. End it, or give this one another"
                    " folder with the environment variable DEMO_DIR."
                ) from None
        yield
