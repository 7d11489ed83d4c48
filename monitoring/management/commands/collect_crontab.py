"""manage.py collect_crontab install | remove | verify"""

from __future__ import annotations

import os
import sys
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.collector import crontab
from monitoring.collector.crontab_program import CrontabError, find_program
from monitoring.conf import conf


class Command(BaseCommand):
    help = (
        "Installs, removes or verifies the one line of your crontab that polls every service when it is due."
        " Exits non-zero when that did not succeed, or when the line is missing, doubled or out of date."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["install", "remove", "verify"])
        parser.add_argument("--manage-path", metavar="PATH", help="The manage.py that cron starts. Default: this one.")

    def handle(self, *args: Any, action: str, manage_path: str | None, **options: Any) -> None:
        cron = conf.django_crontab
        try:
            program = find_program(cron.get("CRONTAB_EXECUTABLE"))
            target = crontab.find_target(
                cron,
                manage_path=manage_path,
                script=sys.argv[0],
                python=sys.executable,
                project_dir=conf.project_dir,
                settings_module=os.environ.get("DJANGO_SETTINGS_MODULE", ""),
            )
            jobs = crontab.find_jobs(cron, target)
            if action == "remove":
                count = crontab.remove(program, jobs)
                self.stdout.write(
                    f"Removed {count} line{'' if count == 1 else 's'}." if count else "There was nothing to remove."
                )
                return
            if not apps.is_installed("django_crontab"):
                raise CrontabError("Cron could not start the line: add 'django_crontab' to INSTALLED_APPS.")
            crontab.check(cron, target, jobs)
            if action == "install":
                self.stdout.write("Installed:" if crontab.install(program, jobs) else "Already installed:")
                self.stdout.write(f"    {jobs.line.rstrip()}")
                self.stdout.write(
                    "Cron starts it with hardly any environment: what your settings read from variables has to be set in"
                    " CRONTAB_COMMAND_PREFIX (see docs/settings.md)."
                )
            else:
                crontab.verify(program, jobs)
                self.stdout.write("The line is installed, once, and up to date.")
        except CrontabError as error:
            raise CommandError(str(error)) from None
