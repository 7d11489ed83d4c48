"""manage.py export_history: options, what it says, how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone as django_timezone

from monitoring.collector import backfill, sending, sinks
from monitoring.conf import conf
from monitoring.management.commands.export_history import _when
from monitoring.models import Exported, OutboxState, Service, milliseconds
from tests.receiver import NO_CONTENT, Receiver, running_receiver
from tests.test_rollups import Shop, at

pytestmark = pytest.mark.django_db


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with running_receiver() as found:
        settings.MONITORING = {"INFLUXDB": {"URL": found.url, "BUCKET": "fleet", "TOKEN": "secret"}}
        yield found


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "DELAYS", (0.001, 0.001))


def export(*arguments: str, since: str = "2026-02-28", **options: Any) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("export_history", f"--since={since}", *arguments, stdout=out, stderr=err, no_color=True, **options)
    return out.getvalue(), err.getvalue()


def failure(*arguments: str, **options: Any) -> str:
    with pytest.raises(CommandError) as caught:
        export(*arguments, **options)
    return str(caught.value)


def polled(number: int = 20) -> Shop:
    shop = Shop()
    for minute in range(number):
        shop.request(0, "/a", 5, 0.5, 200)
        shop.poll(minute)
    return shop


def test_writes_everything_and_sums_it_up(receiver: Receiver) -> None:
    polled()
    out, err = export()
    lines = [line for one in receiver.requests for line in one.lines]
    assert len(lines) == len(set(lines)) == 39  # a baseline has no interval
    assert receiver.requests[0].path.endswith("precision=ms")
    said = out.splitlines()
    assert said[0].startswith("100%  39 of 39 points")
    assert said[-1].startswith("39 points were written in ")
    assert said[-1].endswith("a second: 1 service, 39 of polls.")
    assert err == ""


def test_a_repeat_writes_what_is_new_and_restart_everything(receiver: Receiver) -> None:
    shop = polled()
    export()
    first = [line for one in receiver.requests for line in one.lines]
    receiver.requests.clear()
    assert export()[0] == (
        "The history holds nothing of this time that was not written before (--restart writes it once more).\n"
    )
    assert receiver.requests == []
    Exported.objects.update(until=milliseconds(at(10)))
    out, _ = export()
    assert out.splitlines()[0] == "Going on with shop, from 2026-03-01 00:10:00: what is before it was written."
    again = [line for one in receiver.requests for line in one.lines]
    assert set(again) < set(first)
    assert len(again) == 18
    receiver.requests.clear()
    export("--restart", "--service", shop.service.name)
    assert sorted(line for one in receiver.requests for line in one.lines) == sorted(first)


def test_nothing_there_is_said(receiver: Receiver) -> None:
    assert export()[0] == "The history holds nothing of this time.\n"
    assert export(verbosity=0) == ("", "")


def test_since_and_until_bound_it(receiver: Receiver) -> None:
    polled()
    export("--until", "2026-03-01T00:10", since="2026-03-01 00:05+00:00")
    stamps = {int(line.rpartition(" ")[2]) for one in receiver.requests for line in one.lines}
    assert max(stamps) == milliseconds(at(9))
    assert min(stamps) <= milliseconds(at(5))


def test_ends_where_polls_began_to_go_there(receiver: Receiver) -> None:
    polled()
    sink = sinks.configured(conf.INFLUXDB)
    assert sink is not None
    OutboxState.objects.create(address=sink.address, since=at(10))
    export()
    stamps = {int(line.rpartition(" ")[2]) for one in receiver.requests for line in one.lines}
    assert max(stamps) == milliseconds(at(9))
    assert "nothing is left to write" in failure(since="2026-03-02")


def test_down_ends_it_and_says_how_to_go_on(receiver: Receiver) -> None:
    polled()
    receiver.answers = [(500, {}, b"it hurts")]
    said = failure()
    assert "it hurts" in said
    assert said.endswith("It was tried 3 times. 0 points were written. The same command goes on where this one ended.")
    assert len(receiver.requests) == 3
    receiver.answers = [(503, {"Retry-After": "0"}, b"starting"), NO_CONTENT]
    _, err = export()
    assert "Trying again in" in err


def test_a_wrong_token_ends_it_at_once(receiver: Receiver) -> None:
    polled()
    receiver.answers = [(401, {}, b"unauthorized access")]
    assert "INFLUXDB['TOKEN']" in failure()
    assert len(receiver.requests) == 1


def test_refused_lines_are_shown_and_counted(receiver: Receiver) -> None:
    polled()
    bad = f" {milliseconds(at(7))}"
    receiver.judge = lambda lines: (
        (422, {}, b'{"message": "field type conflict"}') if any(line.endswith(bad) for line in lines) else NO_CONTENT
    )
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match="InfluxDB refused 2 points; they are not sent again"):
        call_command("export_history", "--since=2026-02-28", stdout=out, stderr=err, no_color=True)
    assert "Refused (field type conflict): monitoring_poll,instance=shop-0:80,service=shop" in err.getvalue()
    assert out.getvalue().splitlines()[-1].startswith("37 points were written")


def test_interrupted_by_somebody(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    polled()

    def press(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backfill, "export", press)
    with pytest.raises(CommandError, match=r"^Interrupted\. 0 points were written\. The same command") as caught:
        export()
    assert caught.value.returncode == 130


def test_unknown_service_and_no_influxdb(receiver: Receiver, settings: Any) -> None:
    Service.objects.create(name="shop")
    assert "shop" in failure("--service", "shopp")
    settings.MONITORING = {}
    assert failure() == (
        'No InfluxDB is configured: set MONITORING["INFLUXDB"] to {"URL": ..., "TOKEN": ..., "ORG": ..., "BUCKET": ...}.'
    )
    settings.MONITORING = {"INFLUXDB": {"URL": "ftp://x", "BUCKET": "fleet"}}
    assert "INFLUXDB['URL'] is not an http or https address" in failure()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31", datetime(2026, 1, 30, 23, tzinfo=timezone.utc)),
        ("2026-07-01", datetime(2026, 6, 30, 22, tzinfo=timezone.utc)),
        ("2026-01-31T12:00", datetime(2026, 1, 31, 11, tzinfo=timezone.utc)),
        ("2026-01-31 12:00:30Z", datetime(2026, 1, 31, 12, 0, 30, tzinfo=timezone.utc)),
    ],
)
def test_dates_are_of_the_project_s_time_zone(settings: Any, text: str, expected: datetime) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    assert _when(text) == expected


def test_durations_are_ago() -> None:
    for text, length in (("30d", timedelta(days=30)), ("12h", timedelta(hours=12)), ("2w", timedelta(weeks=2))):
        assert abs(django_timezone.now() - length - _when(text)) < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "30", "-3d", "", "2026-01-31T25:00", "999999w"])
def test_other_texts_say_what_is_meant(text: str) -> None:
    with pytest.raises(CommandError, match=r"such as 2026-01-31|is no date"):
        call_command("export_history", f"--since={text}")
