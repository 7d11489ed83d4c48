"""manage.py collect_metrics --check. No test here is given a database: the check needs none."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.influxes import TOKEN, Influx1, Influx2, Serving, serving


def check(*arguments: str, **options: Any) -> list[str]:
    out = StringIO()
    options.setdefault("no_color", True)
    call_command("collect_metrics", "--check", *arguments, stdout=out, **options)
    return out.getvalue().splitlines()


@pytest.fixture
def influx() -> Iterator[Serving]:
    with serving(Influx2()) as server:
        yield server


def configure(settings: Any, server: Serving, **changed: str) -> None:
    settings.MONITORING = {"INFLUXDB": {"URL": server.url, "TOKEN": TOKEN, "ORG": "fleet", "BUCKET": "metrics", **changed}}


def test_a_line_for_each_setting(settings: Any, influx: Serving) -> None:
    configure(settings, influx)
    assert check() == [
        f"address       ok     InfluxDB 2.7.10 at {influx.url}",
        "token         ?      Cannot be told: InfluxDB 2.7.10 knows it; only writing tells whether it may write to 'metrics'.",
        "organisation  ok     'fleet' is there.",
        "bucket        ok     'metrics' is there.",
    ]
    assert check(verbosity=0) == []


def test_what_is_wrong_ends_with_1(settings: Any, influx: Serving) -> None:
    configure(settings, influx, ORG="flet")
    out = StringIO()
    with pytest.raises(CommandError, match=r"^InfluxDB is not set up right: organisation\.$") as caught:
        call_command("collect_metrics", "--check", stdout=out, no_color=True)
    assert caught.value.returncode == 1
    assert "organisation  WRONG  There is no organisation 'flet'; the token sees: fleet." in out.getvalue()


def test_verdicts_have_colours(settings: Any, influx: Serving) -> None:
    configure(settings, influx)
    assert "\x1b[" in "".join(check(no_color=False, force_color=True))


@pytest.mark.parametrize("monitoring", [{}, {"INFLUXDB": None}, {"INFLUXDB": {"URL": "", "BUCKET": "b"}}])
def test_nothing_is_configured(settings: Any, monitoring: dict[str, Any]) -> None:
    settings.MONITORING = monitoring
    with pytest.raises(CommandError, match=r"No InfluxDB is configured.* set MONITORING = "):
        check()


def test_settings_that_are_wrong_before_any_server_is_asked(settings: Any, influx: Serving) -> None:
    configure(settings, influx, BUKET="metrics")
    with pytest.raises(CommandError, match=r"INFLUXDB has the unknown key 'BUKET'.*\(monitoring\.E014\)"):
        check()
    assert not influx.questions
    configure(settings, influx)
    settings.MONITORING["SAMPLE_RATE"] = 7
    err = StringIO()
    assert len(check(stderr=err)) == 4
    assert "SAMPLE_RATE is 7." in err.getvalue()
    settings.MONITORING["RETENTION"] = {"polls": "all"}
    with pytest.raises(CommandError, match="RETENTION"):
        check()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--loop"], "--loop"),
        (["--due"], "--due"),
        (["--service", "shop"], "--service"),
        (["--dry-run"], "--dry-run"),
        (["--loop", "--every", "5"], "--loop, --every"),
    ],
)
def test_nothing_is_polled_beside_it(settings: Any, influx: Serving, arguments: list[str], named: str) -> None:
    configure(settings, influx)
    with pytest.raises(CommandError, match=f"leave {named} out"):
        check(*arguments)
    assert not influx.questions


def test_where_nobody_can_tell_that_something_is_wrong_nothing_is(settings: Any) -> None:
    with serving(Influx1(users={"reader:pw": "READ"})) as server:
        configure(settings, server, TOKEN="reader:pw")
        assert [line.split()[1] for line in check()] == ["ok", "?", "ok", "ok"]
