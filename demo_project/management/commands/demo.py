"""manage.py demo: four test servers with traffic, and the monitor that watches them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from demo_project.demo import ports
from demo_project.demo.errors import DemoError
from demo_project.demo.running import Demo
from demo_project.services.behaviour import SERVICES


class Command(BaseCommand):
    help = (
        "Starts test-server1 to test-server4 with some traffic, and the monitor that watches them, all on this machine alone."
        " Ctrl-C ends everything. Its files are in .demo in the project's folder, or in the one that DEMO_DIR names."
    )

    requires_system_checks = ("monitoring",)  # others look into the database, which may be broken: that has a sentence of its own

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--base-port",
            type=int,
            default=ports.DEFAULT_BASE,
            metavar="N",
            help="The monitor's port; the services are on N+81 to N+84. Default: %(default)s.",
        )
        parser.add_argument(
            "--seconds", type=float, metavar="N", help="End so many seconds after the start. Default: run until Ctrl-C."
        )
        parser.add_argument("--no-traffic", action="store_true", help="Send no requests; send your own.")

    def handle(self, *args: Any, base_port: int, seconds: float | None, no_traffic: bool, **options: Any) -> None:
        try:
            wanted = ports.wanted_ports(base_port, tuple(SERVICES))
            chosen = ports.choose_ports(wanted, ports.is_free)
            for name, port in chosen.items():
                if port != wanted[name]:
                    self.say(f"Port {wanted[name]} is taken: {name} is on {port}.")
            Demo(chosen, self.say, seconds=seconds, traffic=not no_traffic).run()
        except DemoError as error:
            raise CommandError(str(error)) from None

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()  # whoever reads it through a pipe wants it now
