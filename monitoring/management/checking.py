"""collect_metrics --check: what is found about the settings of InfluxDB, as lines of a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.collector import influxdb_check
from monitoring.collector.influxdb_check import Verdict
from monitoring.conf import conf

_POLLING = ("due", "service", "dry_run", "loop", "every")
"""The options that say what is polled, and how."""

_NONE = (
    "No InfluxDB is configured, and none is needed: the history is in the database. To have points written to one as well, set"
    ' MONITORING = {"INFLUXDB": {"URL": "http://localhost:8086", "TOKEN": "...", "ORG": "...", "BUCKET": "..."}}.'
)


def check_influxdb(command: BaseCommand, options: Mapping[str, Any], wrong_settings: Callable[[], list[str]]) -> None:
    """Writes one line for each setting. Raises CommandError where one is wrong, or there is none.

    `wrong_settings` gives what is wrong with settings before any server is asked, InfluxDB's own marked by their check's id.
    """
    if others := [f"--{name.replace('_', '-')}" for name in _POLLING if options[name]]:
        raise CommandError(f"--check looks at the settings of InfluxDB and polls nothing: leave {', '.join(others)} out.")
    for problem in wrong_settings():
        if "(monitoring.E014)" in problem:
            raise CommandError(problem)
        command.stderr.write(command.style.WARNING(problem))
    if conf.INFLUXDB is None:
        raise CommandError(_NONE)
    found = influxdb_check.check(conf.INFLUXDB)
    styles = {Verdict.OK: command.style.SUCCESS, Verdict.WRONG: command.style.ERROR, Verdict.UNKNOWN: command.style.WARNING}
    for one in found if options["verbosity"] else ():
        command.stdout.write(f"{one.what:<12}  {styles[one.verdict](f'{one.verdict.value:<5}')}  {one.text}")
    if bad := [one.what for one in found if one.verdict is Verdict.WRONG]:
        raise CommandError(f"InfluxDB is not set up right: {', '.join(bad)}.")
