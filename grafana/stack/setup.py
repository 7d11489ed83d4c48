"""`python -m grafana.stack.setup`: the monitor's tables, its admin user (password: MONITOR_PASSWORD), the registered services.

May run at every start: what is there already stays as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

import django
from django.core.management import call_command

SERVICES = Path(__file__).with_name("services.yaml")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "grafana.stack.monitor_settings")
    password = os.environ.get("MONITOR_PASSWORD")
    if not password:
        raise SystemExit("MONITOR_PASSWORD is not set: it is the password of the monitor's user admin. Put it into .env.")
    django.setup()
    from demo_project.demo.registry import ADMIN, ensure_admin

    call_command("migrate", verbosity=0, interactive=False)
    ensure_admin(ADMIN, password)
    call_command("import_services", str(SERVICES))


if __name__ == "__main__":
    main()
