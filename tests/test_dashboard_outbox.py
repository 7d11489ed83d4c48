"""What the fleet's page says of points on their way to InfluxDB."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from monitoring.dashboard import queries, units
from monitoring.dashboard.outbox import Delivery
from monitoring.models import OutboxState, RejectedPoints, WaitingPoints, milliseconds, pack_lines
from tests.history import add_interval, make_service

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>\" onload='x' 😀"
INFLUXDB = {"INFLUXDB": {"URL": "http://127.0.0.1:1", "TOKEN": "s3cret", "BUCKET": "b"}}
NOW = timezone.now()


def ago(**length: float) -> Any:
    return timezone.now() - timedelta(**length)


def state(**fields: Any) -> OutboxState:
    return OutboxState.objects.update_or_create(pk=OutboxState.ONLY, defaults={"address": "http://127.0.0.1:1 b", **fields})[0]


def wait(points: int = 20, rows: int = 1, **length: float) -> None:
    at = milliseconds(ago(**length))
    WaitingPoints.objects.bulk_create(WaitingPoints(created_at=at, points=points, size=5, lines=b"12345") for _ in range(rows))


def reject(points: int = 3, words: str = "field type conflict", **length: float) -> RejectedPoints:
    lines = pack_lines(f"shop count={number}i 1" for number in range(points))
    return RejectedPoints.objects.create(rejected_at=ago(**length), words=words, points=points, lines=lines)


@pytest.fixture
def fleet(client: Client, settings: Any) -> Any:
    """The page's text as staff without any permission sees it, InfluxDB being set; markup of banners stays."""
    settings.MONITORING = INFLUXDB
    add_interval(make_service("shop", timezone.now()).instances.get(), timezone.now(), 60, 10)
    client.force_login(User.objects.create_user("staff", is_staff=True))

    def get() -> str:
        text = client.get("/monitoring/").content.decode().replace("\xa0", " ")
        assert "s3cret" not in text
        return text

    return get


def lines_of(text: str, kind: str) -> list[str]:
    """What each paragraph of this kind says."""
    if kind == "banner":
        text = "".join(re.findall(r'<div class="banner outbox">(.*?)</div>', text, re.DOTALL))
    start = "<p>" if kind == "banner" else f'<p class="{kind}">'
    found = re.findall(f"{start}(.*?)</p>", text, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>", "", one).split()) for one in found]


def test_without_influxdb_nothing_is_said(fleet: Any, settings: Any) -> None:
    settings.MONITORING = {}
    assert "InfluxDB" not in fleet()


def test_all_is_well(fleet: Any) -> None:
    assert lines_of(fleet(), "past") == ["InfluxDB: nothing was delivered yet."]
    at = timezone.now()
    state(delivered=5, delivered_at=at)
    assert lines_of(fleet(), "past") == [f"InfluxDB: all delivered, {at:%H:%M}."]
    wait(points=1, seconds=20)
    assert lines_of(fleet(), "past") == ["InfluxDB: 1 point waits for the next round."]
    assert "banner" not in fleet()


def test_that_nothing_is_taken_is_said_with_how_much_waits_since_when_and_why(fleet: Any) -> None:
    wait(points=12_345, hours=3, minutes=1)
    since, retry = ago(hours=3), timezone.now() + timedelta(seconds=70)
    state(failures=40, failing_since=since, error=HOSTILE, retry_at=retry, delivered_at=since)
    text = fleet()
    assert escape(HOSTILE) in text
    assert HOSTILE not in text
    (said,) = lines_of(text, "banner")
    start = units.when(since, timezone.now())
    assert said.startswith(f"InfluxDB takes nothing since {start} (3 h): 12,345 points wait. &lt;script")
    assert said.endswith(f"Next attempt {units.when(retry + timedelta(seconds=59), timezone.now())}.")
    assert lines_of(text, "past") == []
    state(retry_at=ago(seconds=5))
    assert "Next attempt in the next round." in fleet()


def test_points_that_nobody_delivers(fleet: Any) -> None:
    wait(minutes=20)
    assert "20 points wait for InfluxDB since" in lines_of(fleet(), "banner")[0]
    assert "no collector delivers" in fleet()
    state(delivered_at=ago(minutes=1))
    assert lines_of(fleet(), "banner") == []
    assert "InfluxDB takes points again: 20 points wait still, the oldest since" in lines_of(fleet(), "past")[0]


def test_points_wait_and_influxdb_is_not_set_any_more(fleet: Any, settings: Any) -> None:
    settings.MONITORING = {}
    wait(minutes=20)
    assert "the setting INFLUXDB is empty or wrong. manage.py check says" in lines_of(fleet(), "past")[0]
    state(delivered_at=ago(minutes=1))  # a collector whose settings have it
    assert "takes points again" in fleet()
    WaitingPoints.objects.all().delete()
    assert "all delivered" in fleet()
    state(delivered_at=ago(minutes=10))
    assert "InfluxDB" not in fleet()


def test_what_was_dropped_is_said_for_a_day_with_what_to_do(fleet: Any) -> None:
    state(delivered_at=timezone.now(), dropped=1200, dropped_at=ago(hours=2))
    (said,) = lines_of(fleet(), "banner")
    assert said.startswith("1,200 points did not get to InfluxDB and were dropped, the last ")
    assert "manage.py export_history" in said
    assert "OUTBOX" in said
    state(dropped_at=ago(hours=25))
    assert lines_of(fleet(), "banner") == []


def test_what_was_refused_is_said_while_it_is_set_aside(fleet: Any, client: Client) -> None:
    reject(days=3)
    last = reject(points=2, words=HOSTILE, hours=2)
    text = fleet()
    assert escape(HOSTILE) in text
    assert HOSTILE not in text
    (said,) = lines_of(text, "banner")
    assert said.startswith("InfluxDB refused 5 points, last ")
    assert "They are set aside in the admin. It said: " in said
    assert "rejectedpoints" not in text

    user = User.objects.get(username="staff")
    user.user_permissions.add(Permission.objects.get(codename="view_rejectedpoints"))
    assert '<a href="/admin/monitoring/rejectedpoints/">' in fleet()
    last.delete()
    assert lines_of(fleet(), "banner") == []
    assert "InfluxDB refused 3 points" in lines_of(fleet(), "past")[1]


def test_the_outbox_is_linked_for_those_who_may_see_it(fleet: Any) -> None:
    wait(hours=1)
    state(failures=1, failing_since=ago(minutes=1), error="Down.")
    assert "outboxstate" not in fleet()
    user = User.objects.get(username="staff")
    user.user_permissions.add(Permission.objects.get(codename="change_outboxstate"))
    assert '<a href="/admin/monitoring/outboxstate/">' in fleet()


def test_what_is_too_much_to_be_counted_is_about_right(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.dashboard.queries.MAX_WAITING_ROWS", 1500)
    wait(rows=1500, hours=1)
    assert "30,000 points wait for InfluxDB since" in fleet()
    wait(rows=13, points=20, minutes=10)
    (said,) = lines_of(fleet(), "banner")
    assert said.startswith("About 30,000 points wait for InfluxDB since ")
    assert "(1 h)" in said
    wait(points=1000, rows=1000)
    assert "About 1,300,000 points wait" in fleet()
    WaitingPoints.objects.filter(points=20).delete()
    assert "1,000,000 points wait" in fleet()


@pytest.mark.parametrize("rows", [1, 3000])
def test_it_takes_six_queries_at_most_however_much_waits(rows: int, django_assert_num_queries: Any) -> None:
    wait(rows=rows, hours=1)
    RejectedPoints.objects.bulk_create(
        RejectedPoints(rejected_at=NOW, words="x", points=1, lines=pack_lines(["a"])) for _ in range(rows)
    )
    with django_assert_num_queries(6) as captured:
        found = queries.outbox(True, timezone.now())
    assert found is not None
    assert found.delivery is Delivery.UNATTENDED
    assert found.waiting.points == 20 * rows
    assert (found.rejected.points, found.rejected.more) == (min(rows, 1000), rows > 1000)
    assert not any("lines" in query["sql"] for query in captured.captured_queries)


def test_what_waits_is_added_up_from_the_index_alone() -> None:
    plan = WaitingPoints.objects.order_by().values("points", "size", "created_at").explain()
    assert "COVERING INDEX monitoring_waiting_ix" in plan
