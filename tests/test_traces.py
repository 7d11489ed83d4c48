"""The page that finds traces: who may see it, what it says, and what may stand in a log."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.utils import timezone
from django.utils.html import escape

from monitoring.dashboard import tracesearch
from monitoring.dashboard.tracesearch import Limits
from monitoring.tracelines import json_line
from tests.history import make_service
from tests.tracelogs import OTHER, SAMPLES, TRACE, line, write

pytestmark = pytest.mark.django_db

TRACES = "/monitoring/traces/"
HOSTILE = "<script>alert(1)</script>\" onload='x' 😀"


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_user("staff", is_staff=True))
    return client


def searching(*patterns: str | Path) -> override_settings:
    return override_settings(MONITORING={"TRACE_LOGS": list(patterns)})


def text_of(client: Client, query: str = "") -> str:
    response = client.get(TRACES + query)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


def rows_of(text: str) -> list[str]:
    """The text of each row of the table."""
    return [re.sub(r"(<[^>]*>|\s)+", " ", row).strip() for row in re.findall(r"<tbody.*?</tbody>", text)]


def test_others_than_staff_are_sent_to_the_log_in(client: Client) -> None:
    for query in ("", f"?trace_id={TRACE}"):
        assert client.get(TRACES + query)["Location"].startswith("/admin/login/?next=/monitoring/traces/")
        client.force_login(User.objects.get_or_create(username="customer")[0])
    assert client.get(TRACES)["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("query", ["", f"?trace_id={TRACE}", f"?trace_id={OTHER}", "?trace_id=x", "?only=failed", "?only=x"])
def test_every_answer_has_the_policy_keeps_to_it_and_is_never_cached(staff: Client, tmp_path: Path, query: str) -> None:
    with searching(write(tmp_path / "shop.log", line(status=500, duration=3.0), line(2, 9))):
        response = staff.get(TRACES + query)
    assert response["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; script-src 'self';")
    assert "no-store" in response["Cache-Control"]
    assert not re.search(r"<style|\sstyle=|<script|\son\w+=", response.content.decode())


def test_pages_lead_to_it(staff: Client) -> None:
    service = make_service("a&b /#", timezone.now())
    for url in ("/monitoring/", f"/monitoring/services/{service.pk}/", TRACES):
        assert f'href="{TRACES}"' in staff.get(url).content.decode()
    assert f'href="{TRACES}?service=a%26b%20%2F%23"' in staff.get(f"/monitoring/services/{service.pk}/").content.decode()


def test_a_trace_is_found_by_every_spelling_of_its_id(staff: Client) -> None:
    uuid = "8678e9fe-fec5-4a2f-9db1-9906b06c4dc8"
    with searching(f"{SAMPLES}/*.log"):
        for spelled in (uuid, uuid.upper(), uuid.replace("-", ""), f"%20{uuid}%0A"):
            text = text_of(staff, f"?trace_id={spelled}")
            rows = rows_of(text)
            assert [row.split()[0] for row in rows[:4]] == ["test-server1", "test-server2", "test-server4", "test-server3"]
            assert "No request failed" in text
            assert f"<title>No request failed: {uuid}" in text
    assert rows[1].replace("\xa0", " ") == "test-server2 GET /process Level 1 Status 200 1.08 ms 05:24:19"


def test_services_that_are_registered_are_linked(staff: Client, tmp_path: Path) -> None:
    service = make_service("shop", timezone.now())
    with searching(write(tmp_path / "a.log", line(1), line(2, 1, service="stranger"))):
        text = text_of(staff, f"?trace_id={TRACE}")
    assert f'<a href="/monitoring/services/{service.pk}/">shop</a>' in text
    assert ">stranger</a>" not in text


def test_a_failure_is_said_first_with_where(staff: Client, tmp_path: Path) -> None:
    lines = [line(1, status=502), line(2, 1, service="payments", status=500, method="POST", path="/charges/"), line(3, 1)]
    with searching(write(tmp_path / "a.log", *lines)):
        text = text_of(staff, f"?trace_id={TRACE}")
    assert "<title>Failed in payments" in text
    assert text.index("Failed in payments</p>") < text.index("POST /charges/") < text.index("<table")
    assert [("Failed here" in row) for row in rows_of(text)[:3]] == [False, True, False]


def test_a_caller_that_is_not_there_is_said(staff: Client, tmp_path: Path) -> None:
    with searching(write(tmp_path / "a.log", line(1), line(3, 2), line(5, 5))):
        text = text_of(staff, f"?trace_id={TRACE}")
    assert "Caller not found: 0000000000000002" in text
    assert "1 request names a caller of which there is no line" in text
    assert "Calls itself" in text


def test_nothing_found_says_what_was_searched_and_what_to_check(staff: Client, tmp_path: Path) -> None:
    log = write(tmp_path / "a.log", line(1))
    with searching(f"{tmp_path}/*.log", f"{tmp_path}/missing/*.log"):
        text = text_of(staff, f"?trace_id={OTHER}")
    assert "No line of this trace" in text
    for said in (
        log,
        "7 Oct 2024 05:24:19",
        f"{tmp_path}/missing/*.log",
        "is not there",
        "one that still runs",
        "<details",
        " open>",
    ):
        assert said in text
    with searching(f"{tmp_path}/missing/*.log"):
        assert "No file to search" in text_of(staff, f"?trace_id={OTHER}")


@override_settings(MONITORING={})
def test_without_a_log_the_setting_is_told(staff: Client) -> None:
    for query in ("", f"?trace_id={TRACE}"):
        assert "TRACE_LOGS" in text_of(staff, query)


def test_what_is_no_trace_id_is_said_beside_the_latest_requests(staff: Client, tmp_path: Path) -> None:
    with searching(write(tmp_path / "a.log", line(1, path="/seen"))):
        text = text_of(staff, f"?trace_id={HOSTILE}")
    assert "There is no trace id in" in text
    assert "/seen" in text
    assert "<script>" not in text
    assert f'value="{escape(HOSTILE)}"' in text


def test_a_bound_that_was_met_is_said(staff: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with searching(write(tmp_path / "a.log", *(line(number + 1) for number in range(1001)))):
        assert "more lines than are shown: these are the 1000" in text_of(staff, f"?trace_id={TRACE}")
    write(tmp_path / "a.log", *(line(n, moment=1e9 + n, trace_id=TRACE if n > 1900 else OTHER) for n in range(2000)))
    monkeypatch.setattr(tracesearch, "Limits", lambda **options: Limits(**{"read": 20_000, "block": 5_000, **options}))
    with searching(f"{tmp_path}/*.log"):
        assert "256 MB): lines of this trace from before 9 Sep 2001" in text_of(staff, f"?trace_id={TRACE}")
        assert "Everything after 9 Sep 2001" in text_of(staff, f"?trace_id={'9' * 32}")


def test_the_latest_requests_lead_to_their_traces(staff: Client, tmp_path: Path) -> None:
    lines = [
        line(n, moment=1e9 + n, path=f"/{n}", trace_id=f"{n:032x}", status=500 if n % 10 == 0 else 200) for n in range(1, 101)
    ]
    write(tmp_path / "shop.log", *lines[::2])
    write(tmp_path / "stock.log", *(one._replace(service_name="stock", duration=1.5) for one in lines[1::2]))
    with searching(f"{tmp_path}/*.log"):
        text = text_of(staff)
        failed = rows_of(text_of(staff, "?only=failed"))
        of_shop = rows_of(text_of(staff, "?service=shop"))
        nobody = text_of(staff, "?service=nobody")
    paths = re.findall(r'<span class="route">(.*?)</span>', text)
    assert paths == [f"/{number}" for number in range(100, 50, -1)]
    assert f'href="?trace_id={100:032x}"' in text
    assert text.count('class="down"') == 5
    assert text.count(">Slow<") == 25
    assert len([row for row in failed if " 500 " in row]) == 10
    assert len([row for row in of_shop if " shop GET " in row]) == 50
    assert "stock GET" not in " ".join(of_shop)
    assert "There is none in what was searched" in nobody


def test_filters_are_kept_by_each_other(staff: Client, tmp_path: Path) -> None:
    with searching(write(tmp_path / "a.log", line())):
        text = text_of(staff, "?service=shop&only=failed&trace_id=x")
    assert 'href="?service=shop"' in text
    assert 'href="?only=failed"' in text
    assert staff.get(f"{TRACES}?only=slow").status_code == 404


def test_hostile_text_in_a_log_is_escaped(staff: Client, tmp_path: Path) -> None:
    odd = line(service=HOSTILE, path=f"/{HOSTILE}\ud800\n", method=HOSTILE, status=500, duration=9e8)
    other = odd._replace(span_id=HOSTILE, parent_span_id=HOSTILE, moment=249e9, status=999_999_999, trace_id=TRACE.upper())
    (tmp_path / "<b>.log").write_text(json_line(odd) + json_line(other))
    (tmp_path / "dir").mkdir()
    os.symlink("/etc/passwd", tmp_path / "<i>.log")
    with searching(f"{tmp_path}/*.log", "/<u>/*.log"), override_settings(TIME_ZONE="Pacific/Kiritimati"):
        for query in ("", f"?trace_id={TRACE}", f"?trace_id={OTHER}", f"?service={HOSTILE}"):
            text = text_of(staff, query)
            for tag in ("<script>alert", "onload='x'", "<b>.log", "<i>.log", "<u>"):
                assert tag not in text
            assert escape("<i>.log") in text


def test_no_path_comes_from_the_request(staff: Client, tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.log", line(path="/secret"))
    with searching(f"{tmp_path}/no/*.log"):
        for query in (f"trace_id={TRACE}&path={secret}", f"TRACE_LOGS={secret}", f"service={secret}", f"trace_id={secret}"):
            assert "/secret<" not in text_of(staff, f"?{query}")


def test_a_thousand_requests_are_asked_for_in_one_query(staff: Client, tmp_path: Path, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    lines = [line(n + 1, n, service=f"service-{n}") for n in range(1000)]
    with searching(write(tmp_path / "a.log", *lines)), django_assert_num_queries(3):  # with session and user
        assert len(rows_of(text_of(staff, f"?trace_id={TRACE}"))) == 1001
