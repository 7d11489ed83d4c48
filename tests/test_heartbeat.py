"""What a collector tells of itself."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from monitoring.collector import heartbeat
from monitoring.models import Collector

pytestmark = pytest.mark.django_db


def test_a_round_is_noted_at_its_beginning_and_its_end() -> None:
    with heartbeat.tick("cron", 60.0, host="host-1") as tick:
        running = Collector.objects.get()
        assert (running.host, running.mode, running.finished_at, running.duration) == ("host-1", "cron", None, None)
        tick.services, tick.failed = 7, 2
        tick.oldest_slot = running.ticked_at - timedelta(seconds=90)
    done = Collector.objects.get()
    assert (done.services, done.failed, done.behind, done.error) == (7, 2, 90.0, "")
    assert done.finished_at is not None
    assert done.duration is not None


def test_each_machine_and_mode_has_a_row_of_its_own_and_the_forgotten_go() -> None:
    for host, mode in (("a", "cron"), ("a", "loop"), ("b", "loop"), ("a", "cron")):
        with heartbeat.tick(mode, 60.0, host=host):
            pass
    assert Collector.objects.count() == 3
    Collector.objects.filter(host="b").update(ticked_at=timezone.now() - timedelta(days=8))
    with heartbeat.tick("cron", 60.0, host="a"):
        pass
    assert set(Collector.objects.values_list("host", "mode")) == {("a", "cron"), ("a", "loop")}


def test_a_round_that_fails_says_why() -> None:
    with pytest.raises(ZeroDivisionError), heartbeat.tick("loop", 60.0):
        raise ZeroDivisionError("x")
    assert Collector.objects.get().error == "ZeroDivisionError: x"


def test_that_the_end_cannot_be_noted_fails_no_round() -> None:
    with heartbeat.tick("loop", 60.0), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE monitoring_collector RENAME TO elsewhere")
