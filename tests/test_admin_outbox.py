"""The outbox and what was refused, in the admin."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import DatabaseError
from django.test import Client
from django.urls import resolve
from django.utils import timezone
from django.utils.html import escape

from monitoring.models import OutboxState, RejectedPoints, Service, WaitingPoints, milliseconds, pack_lines, unpack_lines
from tests.receiver import Receiver, running_receiver

pytestmark = pytest.mark.django_db

OUTBOX = "/admin/monitoring/outboxstate/1/change/"
DELIVER = "/admin/monitoring/outboxstate/deliver/"
REJECTED = "/admin/monitoring/rejectedpoints/"
HOSTILE = "<script>alert(1)</script>\" onload='x' 😀"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as found:
        yield found


@pytest.fixture
def influxdb(settings: Any, receiver: Receiver) -> Receiver:
    settings.MONITORING = {"INFLUXDB": {"URL": receiver.url, "TOKEN": "s3cret", "ORG": "o", "BUCKET": "b"}}
    return receiver


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("admin", password="x"))
    return client


def limited(client: Client, *permissions: str) -> Client:
    user = User.objects.create_user("limited", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def page(client: Client, url: str, data: dict[str, Any] | None = None) -> str:
    response = client.get(url, follow=True) if data is None else client.post(url, data, follow=True)
    assert response.status_code == 200
    text = " ".join(response.content.decode().replace("\xa0", " ").split())
    assert "s3cret" not in text
    return text


def wait(*lines: str, **length: float) -> WaitingPoints:
    packed, at = pack_lines(lines), milliseconds(timezone.now() - timedelta(**length))
    return WaitingPoints.objects.create(created_at=at, points=len(lines), size=len(packed), lines=packed)


def reject(*lines: str, words: str = "field type conflict") -> RejectedPoints:
    values = {"words": words, "points": len(lines), "lines": pack_lines(lines)}
    return RejectedPoints.objects.create(rejected_at=timezone.now(), **values)


def failing(**length: float) -> None:
    since = timezone.now() - timedelta(**length)
    later = timezone.now() + timedelta(minutes=4)
    values = {"failures": 40, "failing_since": since, "error": f"Down. {HOSTILE}", "retry_at": later}
    OutboxState.objects.update_or_create(pk=OutboxState.ONLY, defaults=values)


def test_without_a_row_and_without_influxdb(staff: Client) -> None:
    text = page(staff, "/admin/monitoring/outboxstate/")
    assert "InfluxDB is not in use, and nothing waits." in text
    assert "Nowhere: There is no InfluxDB in the settings" in text
    assert "disabled" in text
    assert not OutboxState.objects.exists()


def test_without_a_row(staff: Client, influxdb: Receiver) -> None:
    text = page(staff, OUTBOX)
    assert "InfluxDB: nothing was delivered yet." in text
    assert f"{influxdb.url} o/b" in text
    assert "errornote" not in text
    assert not OutboxState.objects.exists()


def test_what_waits_since_when_and_why(staff: Client, influxdb: Receiver) -> None:
    wait("shop count=1i 1", "shop count=2i 2", hours=3)
    failing(hours=2)
    OutboxState.objects.update(
        delivered=1_234_567, delivered_at=timezone.now(), dropped=1200, dropped_at=timezone.now(), rejected=3, address="old:1 b"
    )
    text = page(staff, OUTBOX)
    assert "(2 h): 2 points wait." in text
    assert "2 points, less than 0.1 MB, the oldest since" in text
    assert "(3 h ago)" in text
    assert escape(f"Down. {HOSTILE}") in text
    assert HOSTILE not in text
    assert "40 times in a row, since" in text
    assert "1,234,567 points so far" in text
    assert "1,200 points so far" in text
    assert "manage.py export_history" in text
    assert "3 points so far; Rejected points has what is set aside" in text
    assert f"{influxdb.url} o/b from the next delivery on; to old:1 b so far" in text
    assert 'name="_save"' not in text


def test_points_wait_and_influxdb_is_not_set_any_more(staff: Client) -> None:
    wait("shop count=1i 1", hours=3)
    OutboxState.objects.create(pk=OutboxState.ONLY, address="http://influx:8086 b")
    text = page(staff, OUTBOX)
    assert "1 point waits for InfluxDB since" in text
    assert "the setting INFLUXDB is empty or wrong." in text
    assert "It went to http://influx:8086 b before." in text
    assert "Nothing was delivered. There is no InfluxDB in the settings" in page(staff, DELIVER, {})
    assert WaitingPoints.objects.exists()


def test_a_wrong_setting_is_said_by_its_name(staff: Client, settings: Any) -> None:
    settings.MONITORING = {"INFLUXDB": {"URL": "nowhere", "BUCKET": "b"}}
    assert "INFLUXDB[&#x27;URL&#x27;] is not an http or https address" in page(staff, DELIVER, {})


def test_deliver_now_waits_for_no_back_off(staff: Client, influxdb: Receiver) -> None:
    wait("shop count=1i 1", "shop count=2i 2", hours=3)
    failing(hours=2)
    OutboxState.objects.update(address=f"{influxdb.url} o/b", asked_to_wait=True)
    text = page(staff, DELIVER, {})
    assert "Delivered: 2 points." in text
    assert "InfluxDB: all delivered" in text
    assert influxdb.requests[0].lines == ["shop count=1i 1", "shop count=2i 2"]
    assert "Nothing waits." in page(staff, DELIVER, {})


def test_deliver_now_says_what_went_wrong_and_what_still_waits(staff: Client, influxdb: Receiver) -> None:
    wait("shop count=1i 1", minutes=1)
    influxdb.answers = [(401, {}, b'{"message": "unauthorized <b>"}')]
    text = page(staff, DELIVER, {})
    assert "answered 401: unauthorized &lt;b&gt;." in text
    assert "check INFLUXDB[&#x27;TOKEN&#x27;]" in text
    assert "Still waiting: 1 point." in text
    assert "The next round goes on" not in text


def test_deliver_now_says_what_was_refused(staff: Client, influxdb: Receiver) -> None:
    wait("good count=1i 1", "bad count=2i 2")
    influxdb.judge = lambda lines: (400, {}, b'{"message": "no"}') if "bad count=2i 2" in lines else (204, {}, b"")
    text = page(staff, DELIVER, {})
    assert "Delivered: 1 point." in text
    assert "1 point refused by InfluxDB and set aside" in text
    assert RejectedPoints.objects.get().words == "no"


def test_deliver_now_ends_in_time_where_influxdb_hangs(
    staff: Client, influxdb: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.admin.outbox.DELIVER_NOW_SECONDS", 0.8)
    settings.MONITORING = {"INFLUXDB": settings.MONITORING["INFLUXDB"] | {"TIMEOUT": 300}}
    influxdb.silent.clear()
    wait("shop count=1i 1")
    assert "did not answer within 0.3 seconds" in page(staff, DELIVER, {})


def test_deliver_now_while_a_collector_delivers(staff: Client, influxdb: Receiver) -> None:
    wait("shop count=1i 1")
    OutboxState.objects.create(pk=OutboxState.ONLY, holder="x", held_until=timezone.now() + timedelta(seconds=50))
    text = page(staff, DELIVER, {})
    assert text.count("A collector delivers at this moment") == 2
    assert "Still waiting: 1 point." in text
    assert influxdb.requests == []


def test_deliver_now_with_a_database_that_cannot_be_used(
    staff: Client, influxdb: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("database is locked")

    monkeypatch.setattr("monitoring.collector.forwarding.deliver", broken)
    assert "The database cannot be used (database is locked)." in page(staff, DELIVER, {})


def test_deliver_now_is_not_in_the_requests_transaction() -> None:
    assert resolve(DELIVER).func._non_atomic_requests == {"default"}


def test_who_may_only_look_cannot_deliver(client: Client, influxdb: Receiver) -> None:
    wait("shop count=1i 1")
    looker = limited(client, "view_outboxstate")
    text = page(looker, OUTBOX)
    assert "1 point waits for the next round" in text
    assert "Deliver now" not in text
    assert looker.post(DELIVER).status_code == 403
    assert influxdb.requests == []


def test_the_outbox_is_read_only(staff: Client, influxdb: Receiver) -> None:
    assert staff.get(DELIVER).status_code == 405
    assert staff.get("/admin/monitoring/outboxstate/add/").status_code == 403
    assert staff.get("/admin/monitoring/outboxstate/1/delete/").status_code == 403
    assert staff.post(OUTBOX, {"delivered": 5}).status_code == 403
    assert staff.get("/admin/monitoring/outboxstate/2/change/").status_code == 302


def test_who_may_nothing_sees_nothing(client: Client) -> None:
    nobody = limited(client)
    for url in ("/admin/monitoring/outboxstate/", OUTBOX, REJECTED):
        assert nobody.get(url).status_code == 403
    assert nobody.post(DELIVER).status_code == 403
    client.logout()
    assert client.post(DELIVER)["Location"].startswith("/admin/login/")


def test_a_change_needs_its_token_against_forgery(influxdb: Receiver) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("admin", password="x"))
    assert client.post(DELIVER).status_code == 403


def test_the_services_page_says_so_after_ten_minutes(staff: Client, influxdb: Receiver) -> None:
    Service.objects.create(name="shop", enabled=False)
    services = "/admin/monitoring/service/"
    wait("shop count=1i 1", hours=3)
    failing(minutes=9)
    assert "InfluxDB" not in page(staff, services)
    failing(minutes=11)
    text = page(staff, services)
    assert "InfluxDB takes nothing since" in text
    assert escape(HOSTILE) in text
    WaitingPoints.objects.all().delete()
    assert "InfluxDB" not in page(staff, services)


def test_what_was_refused_is_listed_without_its_lines(staff: Client, django_assert_max_num_queries: Any) -> None:
    reject("shop count=1i 1", words=HOSTILE)
    reject("shop count=1i 1", words="w" * 5000)
    with django_assert_max_num_queries(6) as captured:
        text = page(staff, REJECTED)
    assert escape(HOSTILE) in text
    assert "w" * 199 + "…" in text
    assert not any('"lines"' in query["sql"] for query in captured.captured_queries)
    assert "Put back into the outbox" in text
    assert "Discard" in text


def test_the_first_hundred_lines_are_shown_as_they_are(staff: Client) -> None:
    lines = [f"{HOSTILE},path=GET/{number} count={number}i 1" for number in range(150)]
    text = page(staff, f"{REJECTED}{reject(*lines, words=HOSTILE).pk}/change/")
    assert escape(lines[0]) in text
    assert escape(lines[99]) in text
    assert escape(lines[100]) not in text
    assert HOSTILE not in text
    assert "… and 50 points more." in text
    assert 'name="_save"' not in text


def test_lines_that_are_damaged(staff: Client) -> None:
    one = reject("shop count=1i 1")
    RejectedPoints.objects.update(lines=b"<nonsense>")
    assert "They are damaged: " in page(staff, f"{REJECTED}{one.pk}/change/")


def test_what_was_refused_is_put_back(staff: Client, influxdb: Receiver) -> None:
    first, second = reject("a count=1i 1", "b count=1i 1"), reject("c count=1i 1")
    reject("d count=1i 1")
    text = page(staff, REJECTED, {"action": "put_back", "_selected_action": [first.pk, second.pk]})
    assert "Put back: 3 points." in text
    assert [unpack_lines(bytes(one.lines)) for one in WaitingPoints.objects.all()] == [
        ["a count=1i 1", "b count=1i 1"],
        ["c count=1i 1"],
    ]
    assert RejectedPoints.objects.count() == 1


def test_putting_back_ends_in_time(staff: Client, influxdb: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.admin.rejected.PUT_BACK_SECONDS", 0.0)
    keys = [reject(f"{name} count=1i 1").pk for name in "abc"]
    text = page(staff, REJECTED, {"action": "put_back", "_selected_action": keys})
    assert "Put back: 1 point." in text
    assert "There was no time for 2 of the 3 rows" in text
    assert RejectedPoints.objects.count() == 2


def test_nothing_is_put_back_for_no_influxdb(staff: Client) -> None:
    one = reject("a count=1i 1")
    text = page(staff, REJECTED, {"action": "put_back", "_selected_action": [one.pk]})
    assert "Nothing was put back, as it would only wait." in text
    assert RejectedPoints.objects.exists()


def test_a_single_one_is_put_back_from_its_page(staff: Client, influxdb: Receiver) -> None:
    one = reject("a count=1i 1")
    text = page(staff, f"{REJECTED}{one.pk}/change/")
    assert f'name="_selected_action" value="{one.pk}"' in text
    assert f'name="action" value="put_back" formaction="{REJECTED}"' in text
    assert f'href="{REJECTED}{one.pk}/delete/" class="deletelink">Discard' in text


def test_discarding_asks_first(staff: Client, django_assert_max_num_queries: Any) -> None:
    keys = [reject(f"a count={number}i 1", "b count=1i 1").pk for number in range(30)]
    action = {"action": "delete_selected", "_selected_action": keys}
    with django_assert_max_num_queries(8):
        text = page(staff, REJECTED, action)
    assert "60 points, which InfluxDB will never get." in text
    assert RejectedPoints.objects.count() == 30
    page(staff, REJECTED, action | {"post": "yes"})
    assert not RejectedPoints.objects.exists()
    one = reject("a count=1i 1")
    assert "Discard these points?" in page(staff, f"{REJECTED}{one.pk}/delete/")
    page(staff, f"{REJECTED}{one.pk}/delete/", {"post": "yes"})
    assert not RejectedPoints.objects.exists()


@pytest.mark.parametrize(
    ("permissions", "put_back", "discard"),
    [
        (["view_rejectedpoints"], False, False),
        (["view_rejectedpoints", "change_rejectedpoints"], True, False),
        (["view_rejectedpoints", "delete_rejectedpoints"], False, True),
    ],
)
def test_each_action_has_its_permission(
    client: Client, influxdb: Receiver, permissions: list[str], put_back: bool, discard: bool
) -> None:
    one = reject("a count=1i 1")
    limited(client, *permissions)
    for url in (REJECTED, f"{REJECTED}{one.pk}/change/"):
        text = page(client, url)
        assert ("Put back into the outbox" in text) == put_back
        assert ("Discard" in text) == discard
    assert client.post(f"{REJECTED}{one.pk}/change/", {"points": 7}).status_code == 403
    assert client.post(f"{REJECTED}{one.pk}/delete/", {"post": "yes"}).status_code == (302 if discard else 403)
    if discard:
        return
    client.post(REJECTED, {"action": "delete_selected", "_selected_action": [one.pk], "post": "yes"})
    client.post(REJECTED, {"action": "put_back", "_selected_action": [one.pk]})
    assert WaitingPoints.objects.exists() == put_back
    assert RejectedPoints.objects.exists() != put_back


def test_no_page_asks_influxdb_by_itself(staff: Client, influxdb: Receiver) -> None:
    wait("shop count=1i 1")
    page(staff, OUTBOX)
    page(staff, "/admin/monitoring/service/")
    assert influxdb.connections == 0
