"""The outbox in a real browser, before a server in the place of InfluxDB."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from django.utils import timezone

from monitoring.models import OutboxState, RejectedPoints, WaitingPoints, milliseconds, pack_lines
from tests.live.browsing import CONTRAST, fits
from tests.live.servers import requires
from tests.live.test_dashboard_browser import REFUSED, fleet_of_four
from tests.receiver import Receiver

pytestmark = [requires("chromium"), pytest.mark.django_db(transaction=True)]

DOWN = "InfluxDB at http://influx.internal:8086 cannot be reached (Connection refused): is it running, and INFLUXDB['URL'] right?"


@pytest.fixture
def influxdb(receiver: Receiver) -> Iterator[Receiver]:
    target = {"URL": receiver.url, "TOKEN": "s3cret", "BUCKET": "b"}
    with override_settings(MONITORING={"INFLUXDB": target}):
        yield receiver


def in_the_admin(page: Any) -> None:
    User.objects.update(is_superuser=True)
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))  # which the admin has not


def everything_is_wrong() -> None:
    now = timezone.now()
    packed = pack_lines([f"shop,path=GET/{'x' * 300}{number} count=1i 1" for number in range(120)])
    stamp = milliseconds(now - timedelta(hours=3))
    WaitingPoints.objects.create(created_at=stamp, points=120, size=len(packed), lines=packed)
    RejectedPoints.objects.create(rejected_at=now, words="field type conflict " * 15, points=120, lines=packed)
    OutboxState.objects.create(
        pk=OutboxState.ONLY,
        failures=40,
        failing_since=now - timedelta(hours=3),
        error=DOWN,
        retry_at=now + timedelta(minutes=4),
        dropped=1200,
        dropped_at=now,
    )


def test_a_service_that_is_down_is_seen_whatever_the_outbox_has_to_say(page: Any, influxdb: Receiver) -> None:
    everything_is_wrong()
    fleet_of_four()
    page.goto("/monitoring/")
    assert page.get_by_text("InfluxDB takes nothing since").is_visible()
    assert page.get_by_text("1,200 points did not get to InfluxDB").is_visible()
    assert page.get_by_text("InfluxDB refused 120 points").is_visible()
    sentence = page.get_by_text(REFUSED).bounding_box()
    assert sentence["y"] + 20 < 844
    assert fits(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST) == []


def test_points_are_delivered_and_put_back_with_buttons(page: Any, influxdb: Receiver) -> None:
    in_the_admin(page)
    everything_is_wrong()
    fleet_of_four()
    page.goto("/monitoring/")
    page.get_by_role("link", name="InfluxDB takes nothing since").click()
    page.get_by_role("button", name="Deliver now").click()
    page.get_by_text("Delivered: 120 points.").wait_for()
    assert len(influxdb.requests) == 1
    assert "s3cret" not in page.content()
    assert fits(page)

    page.goto("/monitoring/")
    page.get_by_role("link", name="InfluxDB refused 120 points").click()
    page.locator("#result_list tbody th a").click()
    assert page.locator("pre").inner_text().count("shop,path=GET/x") == 100
    assert fits(page)
    page.get_by_role("button", name="Put back into the outbox").click()
    page.get_by_text("Put back: 120 points.").wait_for()
    assert not RejectedPoints.objects.exists()
    assert WaitingPoints.objects.get().points == 120


def test_what_was_refused_is_discarded_after_a_question(page: Any, influxdb: Receiver) -> None:
    in_the_admin(page)
    everything_is_wrong()
    page.goto("/admin/monitoring/rejectedpoints/")
    page.locator(".action-select").check()
    page.get_by_label("Action:").select_option("Discard")
    page.locator(".actions button[name=index]").click()  # "Go", and "Run" from Django 6.1 on
    page.get_by_text("120 points, which InfluxDB will never get.").wait_for()
    page.get_by_role("button", name="Yes, I’m sure").click()
    page.get_by_text("Successfully deleted 1").wait_for()
    assert not RejectedPoints.objects.exists()
