"""A database of the monitor's own, through the router."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from django.contrib.auth.models import User
from django.core.checks import run_checks

from monitoring.models import Instance, Interval, Service
from monitoring.router import MonitoringRouter

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = """
from tests.settings import *

DATABASES = {{
    name: {{"ENGINE": "django.db.backends.sqlite3", "NAME": {folder!r} + f"/{{name}}.sqlite3"}} for name in ("default", "metrics")
}}
DATABASE_ROUTERS = ["monitoring.router.MonitoringRouter"]
MONITORING = {{"DATABASE": "metrics"}}
"""
PROGRAM = """
import django
django.setup()
from datetime import timedelta
from django.core.management import call_command
from django.db import connections
from django.utils import timezone
from monitoring.collector import history, rollups
from monitoring.collector.outcomes import Outcome
from monitoring.collector.sinks.database import store
from monitoring.conf import Retention
from monitoring.dashboard import queries
from monitoring.dashboard.windows import WINDOWS
from monitoring.models import *
from monitoring.wire import EndpointMetrics, MetricsDocument

call_command("migrate", verbosity=0)
call_command("migrate", "monitoring", database="metrics", verbosity=0)
history.prepare()
now = timezone.now()
service = Service.objects.create(name="shop", registered_at=now - timedelta(days=1))
instance = Instance.objects.create(service=service, url="http://shop/metrics", registered_at=now - timedelta(days=1))
for minutes in (61, 60):
    counted = EndpointMetrics("GET", "/", 100 - minutes, 1.0, None, {200: 100 - minutes})
    polled_at = now - timedelta(minutes=minutes)
    store(service, [Outcome(instance, polled_at, 0.1, MetricsDocument("shop", {"GET/": counted}, 1.0))])
assert history.keep_up(now, Retention()) == ""
assert EndpointInterval.objects.filter(resolution=600).exists()
assert queries.service(service.pk, WINDOWS["24h"], now).head.figures.count == 1
for alias, there in (("default", False), ("metrics", True)):
    tables = connections[alias].introspection.table_names()
    assert any(name.startswith("monitoring_") for name in tables) is there, (alias, tables)
service.delete()
assert not Interval.objects.exists()
print("all in its own database")
"""


def test_everything_works_in_a_database_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "own_settings.py").write_text(SETTINGS.format(folder=str(tmp_path)))
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "own_settings", "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout == "all in its own database\n", done.stderr


def test_without_the_setting_the_router_has_no_opinion() -> None:
    router = MonitoringRouter()
    assert router.db_for_read(Service) is router.db_for_write(Service) is None
    assert router.allow_migrate("default", "monitoring") is None


def test_the_router_knows_the_monitor_only(settings) -> None:  # type: ignore[no-untyped-def]
    settings.MONITORING = {"DATABASE": "default"}
    router = MonitoringRouter()
    assert (router.db_for_read(Interval), router.db_for_write(Service), router.db_for_write(User)) == ("default", "default", None)
    assert router.allow_migrate("default", "monitoring") is True
    assert router.allow_migrate("other", "monitoring") is False
    assert router.allow_migrate("default", "auth") is router.allow_migrate("other", "auth") is None
    assert router.allow_relation(Service(), Instance()) is True
    assert router.allow_relation(Service(), User()) is None


def test_a_database_without_the_router_is_an_error(settings) -> None:  # type: ignore[no-untyped-def]
    settings.MONITORING = {"DATABASE": "default"}
    assert [found.id for found in run_checks(tags=["monitoring"])] == ["monitoring.E021"]
    settings.DATABASE_ROUTERS = ["monitoring.router.MonitoringRouter"]
    assert run_checks(tags=["monitoring"]) == []
