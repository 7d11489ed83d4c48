"""The history to real servers: every field of every point is read back and compared, also after a kill -9 in the middle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.utils import timezone

from monitoring.collector import backfill
from monitoring.collector.backfill import Window
from monitoring.collector.sending import Sender
from monitoring.models import Resolution, Service, milliseconds
from tests.live.servers import Influxd, VictoriaMetrics, requires, wait_for
from tests.test_backfill import InfluxDB
from tests.test_rollups import FOREVER, Shop, at, keep

ROOT = Path(__file__).resolve().parent.parent.parent
SINCE = "--since=2026-02-01"
KEPT = {"polls": 3000, "ten_minutes": 3000, "hours": 3000, "days": 3000}


def polled_for_a_day() -> InfluxDB:
    """A history of hours, ten minutes and polls, and the points that it has to become."""
    shop = Shop(instances=2)
    shop.service.name = "a,b=c d 😀 #1"
    shop.service.save()
    for minute in range(0, 60 * 26, 6):
        for number in range(2):
            shop.request(number, "/a", minute, 0.01 + minute / 100, 500 if minute % 4 else 200)
            shop.request(number, "/items/<int:pk>/ ,=\\", 1, 3.3, 404)
        shop.poll(minute + 0.013)
    keep(minute, FOREVER | {Resolution.POLL: 10 * Resolution.HOUR.length})
    expected = InfluxDB()
    window = Window(0, milliseconds(at(60 * 48)), FOREVER)
    backfill.export(Service.objects.all(), window, "nowhere", Sender(expected))
    assert len(expected.points) > 500
    return expected


def values(expected: InfluxDB) -> dict[tuple[Any, ...], Any]:
    """By measurement, tags, moment and field."""
    return {
        (measurement, tags, stamp, name): value
        for (measurement, tags, stamp), fields in expected.points.items()
        for name, value in fields.items()
    }


@pytest.mark.django_db
@requires("influxd")
def test_influxd_gives_everything_back_once_however_often_it_is_written(influxd: Influxd, settings: Any) -> None:
    expected, database = polled_for_a_day(), f"fleet-{uuid4()}"
    influxd.create_database(database)
    settings.MONITORING = {"RETENTION": KEPT, "INFLUXDB": {"URL": influxd.url, "BUCKET": database}}
    call_command("export_history", SINCE, verbosity=0)
    wanted = values(expected)
    assert read(influxd, database) == wanted
    call_command("export_history", SINCE, "--restart", verbosity=0)
    assert read(influxd, database) == wanted
    (sums,) = influxd.select(database, 'SELECT sum("polls") AS "polls", sum("failures") AS "failures" FROM "monitoring_poll"')
    assert (sums["polls"], sums["failures"]) == (2 * 260, 0)


def read(influxd: Influxd, database: str) -> dict[tuple[Any, ...], Any]:
    found = {}
    answer = influxd._query("SELECT * FROM /.*/ GROUP BY *", db=database, epoch="ms")
    for series in answer["results"][0]["series"]:
        tags = str(sorted((name, value) for name, value in series["tags"].items() if value))
        for row_values in series["values"]:
            row = dict(zip(series["columns"], row_values, strict=True))
            stamp = row.pop("time")
            found.update({(series["name"], tags, stamp, name): value for name, value in row.items() if value is not None})
    return found


@pytest.mark.django_db
@requires("victoria-metrics")
def test_victoria_metrics_gives_everything_back(victoria_metrics: VictoriaMetrics, settings: Any) -> None:
    host = f"shop-{uuid4()}"
    expected = polled_for_a_day()
    for instance in Service.objects.get().instances.all():
        instance.url = instance.url.replace("shop-", f"{host}-")
        instance.save()
    settings.MONITORING = {"RETENTION": KEPT, "INFLUXDB": {"URL": victoria_metrics.url, "BUCKET": "fleet"}}
    call_command("export_history", SINCE, verbosity=0)
    wanted = {
        (f"{measurement}_{name}", tags.replace("'shop-", f"'{host}-"), stamp): value
        for (measurement, tags, stamp, name), value in values(expected).items()
    }

    def found() -> dict[tuple[str, str, int], float]:
        samples = {}
        for series in victoria_metrics.series(f'{{instance=~"{host}.*"}}'):
            labels = series["metric"]
            name = labels.pop("__name__")
            labels.pop("db", None)
            tags = str(sorted(labels.items()))
            samples.update({(name, tags, at): value for at, value in zip(series["timestamps"], series["values"], strict=True)})
        return samples

    wait_for(lambda: len(found()) >= len(wanted), what=f"{len(wanted)} samples in VictoriaMetrics")
    assert found() == pytest.approx(wanted, rel=1e-12)


SETTINGS = """
from tests.settings import *

DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {database!r}}}}}
MONITORING = {{"INFLUXDB": {{"URL": {url!r}, "BUCKET": os.environ.get("BUCKET", "none"), "TIMEOUT": 30}}}}
"""
FILL = """
from datetime import datetime, timezone
import django
django.setup()
from benchmarks.history import fill
fill(3, 8, 0.08, datetime.now(timezone.utc))
"""


class Monitor:
    """A project with a database of its own and a history in it, and the command as a process."""

    def __init__(self, folder: Path, url: str) -> None:
        text = "import os" + SETTINGS.format(database=str(folder / "monitor.sqlite3"), url=url)
        (folder / "export_settings.py").write_text(text)
        paths = os.pathsep.join([str(folder), str(ROOT)])
        self.env = {**os.environ, "DJANGO_SETTINGS_MODULE": "export_settings", "PYTHONPATH": paths}
        subprocess.run([sys.executable, "-c", FILL], env=self.env, check=True, capture_output=True, timeout=300)

    def export(self, bucket: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "-m", "django", "export_history", "--since=800d", *arguments]
        env = {**self.env, "BUCKET": bucket}
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@requires("influxd")
def test_killed_in_the_middle_the_same_command_goes_on(influxd: Influxd, tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, influxd.url)
    at_once, in_parts = (f"fleet-{uuid4()}" for _ in range(2))
    for bucket in (at_once, in_parts):
        influxd.create_database(bucket)
    until = f"--until={timezone.now():%Y-%m-%dT%H:%M:%SZ}"
    out, err = monitor.export(at_once, until).communicate(timeout=300)
    assert "100%" in out, err
    written = int(re.findall(r"([\d,]+) points were written", out)[-1].replace(",", ""))

    for share in (r"[1-3]\d%", r"[2-5]\d%"):
        process = monitor.export(in_parts, until)
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(share, line):
                break
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    out, err = monitor.export(in_parts, until).communicate(timeout=300)
    assert out.startswith("Going on with service-"), (out, err)
    rest = int(re.findall(r"([\d,]+) points were written", out)[-1].replace(",", ""))
    assert 0 < rest < written
    expected = read(influxd, at_once)
    assert len(expected) > 5 * written
    assert read(influxd, in_parts) == expected
