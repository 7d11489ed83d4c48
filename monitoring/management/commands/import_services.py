from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from monitoring.collector.importing import import_services
from monitoring.collector.registry_text import MAX_BYTES, FileRefusedError

MAX_SHOWN = 50
"""Problems that are printed."""


class Command(BaseCommand):
    help = (
        "Register the services that a file lists: YAML (docs/import.md), or the Gin exporter's config.json."
        " Can be run again and again: only what the file states is changed, and nothing where anything in it is wrong."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help='the file; "-" reads standard input')
        parser.add_argument(
            "--prune", action="store_true", help="remove those instances of a listed service whose URL the file does not list"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        file = options["file"]
        try:
            with nullcontext(sys.stdin.buffer) if file == "-" else open(file, "rb") as source:
                content = source.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            raise CommandError(f"{file} cannot be read ({error}).") from None
        try:
            report = import_services(content, os.environ, prune=options["prune"])
        except FileRefusedError as error:
            shown = error.problems[:MAX_SHOWN]
            if len(error.problems) > MAX_SHOWN:
                shown.append(f"... and {len(error.problems) - MAX_SHOWN} more")
            raise CommandError("\n  ".join([f"{file} was not imported, and nothing was changed:", *shown])) from None
        except DatabaseError as error:
            raise CommandError(f"The database did not take it ({error}). Has manage.py migrate been run?") from None
        for outcome in report.outcomes:
            self.stdout.write(str(outcome))
        for note in report.notes:
            self.stdout.write(f"Note: {note}")
