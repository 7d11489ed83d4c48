#!/usr/bin/env python
"""Django's command line for the demo project."""

import os
import sys

_REQUIRED = {"django", "asgiref", "sqlparse", "requests", "urllib3", "influxdb_client", "django_crontab", "cronsim", "yaml"}


def main() -> None:
    if sys.argv[1:2] == ["demo"]:
        os.environ["DJANGO_SETTINGS_MODULE"] = "demo_project.settings"  # whatever a shell still has from another project
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _REQUIRED:
            raise
        raise SystemExit(
            f"{error.name} is not installed for {sys.executable}. Install the requirements first:"
            " python3 -m venv .venv && .venv/bin/pip install -r requirements.txt, then use .venv/bin/python."
        ) from error


if __name__ == "__main__":
    main()
