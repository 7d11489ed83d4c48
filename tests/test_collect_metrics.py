"""manage.py collect_metrics, one pass: options, output, exit. The loop is tests/live/test_loop_signals.py's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone

from monitoring import wire
from monitoring.models import Baseline, Collector, Service, waiting
from monitoring.wire import EndpointMetrics, MetricsDocument
from tests.receiver import NO_CONTENT, running_receiver
from tests.scripted import Script, ScriptedServer, answers

pytestmark = pytest.mark.django_db

Register = Callable[..., Service]


def reporting(count: int) -> Script:
    endpoint = EndpointMetrics("GET", "/", count, 0.5, None, {200: count})
    return answers(wire.dump(MetricsDocument("", {endpoint.key: endpoint})))


@pytest.fixture
def register() -> Iterator[Register]:
    """Registers a service that a real server stands behind, which reports so many requests."""
    servers: list[ScriptedServer] = []

    def add(name: str, count: int = 1, script: Script | None = None, **more: Any) -> Service:
        servers.append(ScriptedServer(script or reporting(count)))
        more.setdefault("registered_at", timezone.now() - timedelta(days=1))
        service = Service.objects.create(name=name, **more)
        service.instances.create(url=servers[-1].url)
        return service

    yield add
    for server in servers:
        server.close()


def collect(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command("collect_metrics", *arguments, stdout=out, no_color=True, **options)
    return out.getvalue()


def failure(*arguments: str, **options: Any) -> str:
    with pytest.raises(CommandError) as caught:
        collect(*arguments, **options)
    return str(caught.value)


def polled() -> set[str]:
    return set(Baseline.objects.values_list("instance__service__name", flat=True))


def test_one_line_a_service(register: Register) -> None:
    shop = register("shop", 40)
    register("billing-api", 1)
    register("paused", enabled=False)
    collect()
    later = register("later", 1_240)
    shop.instances.update(url=later.instances.get().url)
    later.delete()
    lines = collect().splitlines()
    assert [line.split()[:2] for line in lines] == [["billing-api", "ok"], ["shop", "ok"]]
    assert "1 endpoints" in lines[1]
    assert "1,200 requests" in lines[1]
    assert polled() == {"shop", "billing-api"}


def test_a_failure_is_a_line_an_exit_and_a_reason_and_the_others_are_stored(register: Register) -> None:
    register("broken", script=answers("", "500 Oops"))
    register("shop")
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("collect_metrics", stdout=out, no_color=True)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("broken  FAILED  still new since ")
    assert lines[1].startswith("shop    ok ")
    assert str(caught.value).startswith("1 of 2 services failed:\n  broken: 127.0.0.1:")
    assert "HTTP 500 Internal Server Error" in str(caught.value)
    assert polled() == {"shop"}


def test_quiet(register: Register) -> None:
    register("shop")
    assert collect(verbosity=0) == ""
    assert polled() == {"shop"}


def test_due(register: Register) -> None:
    register("minutely")
    register("long-ago", schedule="0 0 29 2 *")
    assert collect("--due").startswith("minutely")
    assert collect("--due") == "No service is due now.\n"
    register("broken", schedule="now and then")
    assert "broken: The schedule cannot be read" in failure("--due")


def test_named_services(register: Register) -> None:
    register("shop")
    register("billing")
    register("paused", enabled=False)
    output = collect("--service", "shop", "--service", "paused")
    assert polled() == {"shop", "paused"}
    assert "Paused; polled because it was named." in output.splitlines()[0]
    assert collect("--due", "--service", "paused") == "No service is due now.\n"
    assert "No service is named 'shpo'. Did you mean 'shop'?" in failure("--service", "shpo")


def test_a_dry_run_stores_nothing_and_claims_no_slot(register: Register) -> None:
    register("shop")
    for _ in range(2):
        output = collect("--dry-run", "--due")
        assert output.startswith("Dry run: nothing is stored.\nshop  ok")
    assert polled() == set()


def test_nothing_to_do_says_what_to_do(register: Register) -> None:
    assert "import_services" in collect()
    register("paused", enabled=False)
    assert "All services are paused" in collect()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--every", "5"], "use --loop --every"),
        (["--due", "--loop", "--every", "5"], "use --loop --every"),
        (["--loop", "--every", "0"], "not a number of seconds above 0"),
        (["--loop", "--every", "nan"], "not a number of seconds above 0"),
        (["--loop", "--every", "soon"], "not a number of seconds above 0"),
        (["--loop", "--dry-run"], "--dry-run looks once"),
        (["--loop", "--service", "nobody"], "No service is named 'nobody'"),
    ],
)
def test_options_that_make_no_sense(arguments: list[str], message: str) -> None:
    assert message in failure(*arguments)


@pytest.mark.parametrize("wrong", [{"INFLUXDB": {"URL": "localhost:8086"}}, {"INFLUXDB": "http://localhost"}])
def test_a_wrong_setting_never_means_that_influxdb_is_silently_left_out(register: Register, settings: Any, wrong: Any) -> None:
    register("shop")
    settings.MONITORING = wrong
    message = failure()
    assert "1 of 1 sink failed:\n  InfluxDB: " in message
    assert "monitoring.E014" in message
    assert polled() == {"shop"}
    assert waiting().points == 2  # for when the setting is mended


@pytest.mark.parametrize(
    "wrong", [["INFLUXDB"], {"RETENTION": {"polls": "all"}}, {"DATABASE": "nowhere"}, {"ALLOWED_TARGETS": "everything"}]
)
def test_a_wrong_setting_that_says_what_to_keep_where_and_whom_to_poll_ends_the_round(
    register: Register, settings: Any, wrong: Any
) -> None:
    register("shop")
    settings.MONITORING = wrong
    assert "monitoring.E0" in failure()
    assert polled() == set()


def test_a_wrong_setting_of_the_service_itself_costs_no_poll(
    register: Register, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    register("shop")
    settings.MONITORING = {"SAMPLE_RATE": 2}
    collect()
    assert polled() == {"shop"}
    assert "monitoring.E011" in capsys.readouterr().err


def test_influxdb_that_does_not_answer_is_a_failure_of_its_own(register: Register, settings: Any) -> None:
    register("shop")
    settings.MONITORING = {"INFLUXDB": {"URL": "http://127.0.0.1:1", "TOKEN": "t", "ORG": "o", "BUCKET": "b"}}
    message = failure()
    assert message.startswith("1 of 1 sink failed:\n  InfluxDB: ")
    assert "2 points wait since 20" in message
    assert "The next attempt is due at " in message
    assert polled() == {"shop"}


def test_points_that_waited_are_delivered_and_told(register: Register, settings: Any) -> None:
    register("shop")
    with running_receiver() as influxdb:
        settings.MONITORING = {"INFLUXDB": {"URL": influxdb.url, "BUCKET": "b", "TIMEOUT": 30}}
        influxdb.answers = [(503, {}, b"")]
        assert "2 points wait" in failure()
        influxdb.answers = [NO_CONTENT]
        said = collect()
        assert "InfluxDB  ok      4 points delivered." in said
        assert influxdb.sizes == [2, 4]
    assert waiting().points == 0


def test_a_tick_without_a_service_that_is_due_delivers_what_waits(register: Register, settings: Any) -> None:
    register("long-ago", schedule="0 0 29 2 *")
    with running_receiver() as influxdb:
        settings.MONITORING = {"INFLUXDB": {"URL": influxdb.url, "BUCKET": "b", "TIMEOUT": 30}}
        influxdb.answers = [(503, {"Retry-After": "0"}, b"")]
        failure("--service", "long-ago")
        influxdb.answers = [NO_CONTENT]
        assert collect("--due") == "No service is due now.\n"
    assert waiting().points == 0


def test_a_dry_run_delivers_nothing(register: Register, settings: Any) -> None:
    register("shop")
    with running_receiver() as influxdb:
        settings.MONITORING = {"INFLUXDB": {"URL": influxdb.url, "BUCKET": "b"}}
        collect("--dry-run")
        assert influxdb.requests == []


def test_refused_and_dropped_points_are_a_failure_that_is_told_once(register: Register, settings: Any) -> None:
    register("shop")
    with running_receiver() as influxdb:
        settings.MONITORING = {"INFLUXDB": {"URL": influxdb.url, "BUCKET": "b", "TIMEOUT": 30}}
        influxdb.judge = lambda lines: (400, {}, b"odd") if any("up=" in line for line in lines) else NO_CONTENT
        assert "1 point was refused and set aside" in failure()
        influxdb.judge = None
        assert "FAILED" not in collect()


def test_influxdb_without_its_client_says_what_to_install(
    register: Register, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("shop")
    settings.MONITORING = {"INFLUXDB": {"URL": "http://127.0.0.1:1", "BUCKET": "b"}}
    monkeypatch.setitem(sys.modules, "influxdb_client.client.influxdb_client", None)
    assert "InfluxDB: Writing to InfluxDB needs influxdb-client" in failure()
    assert polled() == {"shop"}


def test_a_database_that_is_not_set_up() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE monitoring_service RENAME TO elsewhere")
    assert "has manage.py migrate been run?" in failure()


def test_by_schedule_it_tells_that_it_lives_and_otherwise_not(register: Register) -> None:
    register("shop")
    register("broken", script=answers("", "500 Oops"))
    failure()
    failure("--dry-run", "--due")
    assert not Collector.objects.exists()
    failure("--due")
    collector = Collector.objects.get()
    assert (collector.mode, collector.services, collector.failed, collector.error) == ("cron", 2, 1, "")
    assert collector.behind >= 0
    collect("--due")
    assert Collector.objects.get().services == 0


def test_slots_that_were_missed_are_told_on_standard_error(register: Register) -> None:
    long_ago = timezone.now() - timedelta(hours=2)
    for number in range(7):
        register(f"shop-{number}", last_slot=long_ago)
    err = StringIO()
    collect("--due", stderr=err)
    assert err.getvalue().startswith("Missed: ")
    assert " slots of shop-0, shop-1, shop-2, shop-3, shop-4, and 2 more, from " in err.getvalue()
    assert "They are not made up" in err.getvalue()
    err = StringIO()
    collect("--due", stderr=err)
    assert err.getvalue() == ""


def test_the_state_and_since_when_stand_in_the_line(register: Register) -> None:
    register("shop")
    service = register("broken", script=answers("", "500 Oops"))
    assert f"up since {timezone.localtime():%Y-%m-%d}" in collect("--service", "shop")
    service.instances.update(failures=2, failing_since=datetime(2026, 3, 1, 12, tzinfo=timezone.get_current_timezone()))
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("collect_metrics", "--service", "broken", stdout=out, no_color=True)
    assert "FAILED  down since 2026-03-01 12:00  127.0.0.1:" in out.getvalue()


def test_what_may_not_be_polled_is_not_even_connected_to(register: Register, settings: Any) -> None:
    register("shop")
    settings.MONITORING = {"ALLOWED_TARGETS": ["10.0.0.0/8"]}
    assert "127.0.0.1 is at 127.0.0.1, which may not be polled" in failure()


def test_a_wrong_list_of_targets_polls_nothing(register: Register, settings: Any) -> None:
    register("shop")
    settings.MONITORING = {"ALLOWED_TARGETS": "10.0.0.0/8"}
    with pytest.raises(CommandError, match=r"monitoring\.E040"):
        collect()
    assert polled() == set()
