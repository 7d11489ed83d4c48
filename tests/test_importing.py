from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring.collector import importing, registry_text
from monitoring.collector.registry_text import FileRefusedError
from monitoring.models import Instance, Service

pytestmark = pytest.mark.django_db

SHOP = """
services:
  - name: shop
    schedule: "*/5 * * * *"
    time_zone: Europe/Berlin
    enabled: false
    timeout: 2.5
    token: s3cret
    duration_unit: milliseconds
    urls:
      - http://shop-1:8000/metrics
      - http://shop-2:8000/metrics
  - name: stock
    url: https://stock.internal/metrics
"""
GIN = {
    "serverinfo": [
        {"url": "localhost", "port": 8081, "path": "/metrics", "name": "test-server1"},
        {"url": "http://localhost", "port": "8082", "path": "metrics", "name": "test-server2"},
        {"url": "https://one.example:8443", "name": "test-server1"},
        {"url": "::1", "port": 80, "path": "/m", "name": "test-server3"},
    ],
    "database": {"url": "http://localhost:8086", "token": "influx-token"},
}


def run(text: str | bytes, prune: bool = False, **environ: str) -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    return [str(outcome) for outcome in importing.import_services(content, environ, prune=prune).outcomes]


def refused(text: str | bytes, **environ: str) -> list[str]:
    """What is wrong with a file, which changed nothing."""
    before = registry()
    with pytest.raises(FileRefusedError) as caught:
        run(text, **environ)
    assert registry() == before
    return caught.value.problems


def registry() -> tuple[list[Any], list[Any]]:
    return list(Service.objects.values()), list(Instance.objects.values())


def urls(name: str) -> list[str]:
    return [one.url for one in Instance.objects.filter(service__name=name)]


def one_service(**values: Any) -> str:
    return yaml.safe_dump({"services": [{"name": "shop", "url": "http://shop/metrics", **values}]})


def test_all_that_a_file_states_is_registered() -> None:
    assert run(SHOP) == [
        "shop: created (http://shop-1:8000/metrics, http://shop-2:8000/metrics)",
        "stock: created (https://stock.internal/metrics)",
    ]
    shop, stock = Service.objects.all()
    assert (shop.schedule, shop.enabled, shop.timeout, shop.token) == ("*/5 * * * *", False, 2.5, "s3cret")
    assert shop.time_zone == "Europe/Berlin"
    assert shop.seconds_per_unit == 0.001
    assert urls("shop") == ["http://shop-1:8000/metrics", "http://shop-2:8000/metrics"]
    assert (stock.schedule, stock.enabled, stock.timeout, stock.token) == ("* * * * *", True, 10.0, "")


def test_a_second_run_changes_nothing() -> None:
    run(SHOP)
    before = registry()
    assert run(SHOP, prune=True) == ["shop: unchanged", "stock: unchanged"]
    assert registry() == before


def test_only_what_the_file_states_is_changed() -> None:
    run(SHOP)
    Service.objects.filter(name="shop").update(timeout=7)
    assert run("services: [{name: shop, enabled: true, token: n3w}]") == ["shop: updated (enabled, token)"]
    shop = Service.objects.get(name="shop")
    assert (shop.schedule, shop.enabled, shop.timeout, shop.token) == ("*/5 * * * *", True, 7, "n3w")
    assert len(urls("shop")) == 2
    assert run('services: [{name: shop, token: ""}]') == ["shop: updated (token)"]


def test_instances_that_are_not_listed_stay_unless_pruned() -> None:
    run(SHOP)
    kept = Instance.objects.get(url="http://shop-2:8000/metrics").pk
    text = "services: [{name: shop, urls: ['http://shop-2:8000/metrics', 'http://shop-3/']}]"
    assert run(text) == [
        "shop: updated (+http://shop-3/); registered but not listed, and kept: http://shop-1:8000/metrics (--prune removes)"
    ]
    assert len(urls("shop")) == 3
    assert run(text, prune=True) == ["shop: updated (-http://shop-1:8000/metrics)"]
    assert urls("shop") == ["http://shop-2:8000/metrics", "http://shop-3/"]
    assert Instance.objects.get(url="http://shop-2:8000/metrics").pk == kept
    assert run("services: [{name: shop, enabled: true}]", prune=True) == ["shop: updated (enabled)"]
    assert len(urls("shop")) == 2
    assert Service.objects.filter(name="stock").exists()


def test_a_token_may_come_from_the_environment() -> None:
    run(one_service(token_env="SHOP_TOKEN"), SHOP_TOKEN="from-env")
    assert Service.objects.get().token == "from-env"
    assert refused(one_service(token_env="SHOP_TOKEN")) == [
        "services[0] (shop): token_env: the environment variable 'SHOP_TOKEN' is not set: set it where this command runs."
    ]


def test_the_gin_exporters_config() -> None:
    report = importing.import_services(json.dumps(GIN, indent="\t").encode(), {})
    assert [str(outcome) for outcome in report.outcomes] == [
        "test-server1: created (http://localhost:8081/metrics, https://one.example:8443/metrics)",
        "test-server2: created (http://localhost:8082/metrics)",
        "test-server3: created (http://[::1]:80/m)",
    ]
    assert report.notes == ['database was not read: where points go is the setting MONITORING["INFLUXDB"].']
    assert run(json.dumps(GIN)) == [f"test-server{number}: unchanged" for number in (1, 2, 3)]
    assert run(yaml.safe_dump(GIN)) == [f"test-server{number}: unchanged" for number in (1, 2, 3)]


def test_every_error_is_listed_and_names_its_entry() -> None:
    text = """
services:
  - {name: fine, url: http://fine/metrics}
  - {name: "1", url: "ftp://one", schedule: "61 * * * *", timeout: 0, token: "two words"}
  - {name: two, urls: [http://two/, 3, http://two/], enabled: "yes", schedul: "@hourly", duration_unit: minutes}
  - {name: 3, url: http://three/}
  - [four]
  - {name: fine, url: http://fine/}
  - {name: six, timeout: .nan}
  - {}
"""
    problems = refused(text)
    for number, parts in enumerate(
        [
            ["services[2] (two): unknown key 'schedul'. Did you mean 'schedule'?"],
            ["services[2] (two): urls[1]: is a number, not a string."],
            ["services[2] (two): urls[2]: stands there twice."],
            ["services[2] (two): enabled: is a string, not true or false."],
            ["services[2] (two): duration_unit: is 'minutes': write seconds or milliseconds."],
            ["services[3]: name: is a number, not a string", '"shop"'],
            ["services[4] is a list, not a mapping"],
            ["services[5] (fine): name: stands already in services[0] (fine)."],
            ["services[6] (six): timeout: is not a number"],
            ["services[7]: name: is missing."],
            ["services[1] (1): schedule: “61 * * * *” is not a crontab schedule", '"*/5 * * * *"'],
            ["services[1] (1): timeout: ", "0.1"],
            ["services[1] (1): token: A bearer token"],
            ["services[1] (1): url: “ftp://one” does not start with http://"],
            ["services[6] (six): a new service needs url or urls"],
        ]
    ):
        assert all(part in problems[number] for part in parts), problems[number]
    assert len(problems) == 15, problems
    assert not any("two words" in problem for problem in problems)
    assert Service.objects.count() == 0


def test_a_bad_entry_leaves_registered_services_as_they_were() -> None:
    run(SHOP)
    (problem,) = refused("services: [{name: stock, timeout: 3}, {name: shop, time_zone: Europe/Brelin}]")
    assert "Did you mean Europe/Berlin?" in problem
    (problem,) = refused("services: [{name: stock, timeout: 3}, {name: shop, schedule: never}]")
    assert problem.startswith("services[1] (shop): schedule: “never” has 1 field")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"name": "a", "port": 80}, "serverinfo[0] (a): url: is missing."),
        ({"name": "a", "url": ""}, "url: names no host."),
        ({"name": "a", "url": "http://host/path", "port": 80}, "url: holds a path"),
        ({"name": "a", "url": "host:90", "port": 80}, "port: is 80, but url says 90."),
        ({"name": "a", "url": "host", "port": 99999}, "serverinfo[0] (a): url: “http://host:99999/metrics” is not an address"),
        ({"name": "a", "url": "host", "port": 8.5}, "port: is a number, not a port such as 8080."),
        ({"name": "a", "url": "ftp://host"}, "does not start with http://"),
        ({"name": "a", "url": "[::1"}, "url: is no host"),
        ({"name": "a", "url": "host", "prot": 80}, "unknown key 'prot'. Did you mean 'port'?"),
        ({"url": "host"}, "serverinfo[0]: name: is missing."),
        ("host", "serverinfo[0] is a string, not a mapping"),
    ],
)
def test_errors_in_the_gin_exporters_config(entry: object, expected: str) -> None:
    (problem,) = refused(json.dumps({"serverinfo": [entry]}))
    assert expected in problem


BOMB = "a: &a [x, x]\n" + "".join(
    f"{after}: &{after} [*{before}, *{before}, *{before}]\n" for before, after in zip("abcdefghijk", "bcdefghijkl", strict=True)
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "The file lists no services"),
        ("just words", 'it starts with "services:"'),
        ("service: []", "Was 'service' meant as one of these?"),
        ("services:", "services is empty, not a list with a service in it."),
        ("services: []", "services is an empty list"),
        ("services: {name: shop}", "services is a mapping"),
        ("services: [{name: shop}]\nservice: 1", "the file: unknown key 'service'. Did you mean 'services'?"),
        (b"\xff\xfes\x00", "not UTF-8 text (see byte 0)"),
        (b"services: [{name: caf\xe9}]", "not UTF-8 text (see byte 21)"),
        ("services: [{name: a\x00}]", "not YAML"),
        ("services: [", "not YAML: line 1, column 12"),
        (
            "services:\n  - name: a\n    schedule: */5 * * * *",
            "line 3, column 16: expected alphabetic or numeric character, but found",
        ),
        ("services:\n  - name: a\n    schedule: */5 * * * *", 'schedule: "*/5 * * * *"'),
        ("services:\n  - name: a\n    schedule: @hourly", "A schedule has to be in quotes"),
        ("services: *a", "Line 1: YAML aliases such as *a are not read"),
        (BOMB, "YAML aliases"),
        ("services: [{name: a, name: b}]", "Line 1 and following: the key 'name' stands twice"),
        ("services: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("services: !!int x", "not YAML that can be read"),
        ("services: 2024-13-45", "not YAML that can be read"),
        ("services: !!timestamp x", "not YAML that can be read"),
        ("--- {}\n--- {}", "not YAML"),
        ("[" * 100_000, "nested too deeply"),
        ('{"serverinfo": ' + "[" * 100_000, "nested too deeply"),
        ('{"serverinfo": [', "The file is not JSON: Expecting value: line 1 column"),
        ('{"serverinfo": [{"url": "a", "url": "b"}]}', "the key 'url' stands twice"),
        ("#" * (registry_text.MAX_BYTES + 1), "larger than 1024 KiB"),
    ],
)
def test_what_is_no_such_file_is_refused(content: str | bytes, expected: str) -> None:
    assert any(expected in problem for problem in refused(content))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ["name", "schedule", "time_zone", "enabled", "timeout", "token", "token_env", "duration_unit", "url", "urls", "port", "path"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(root=st.sampled_from(["services", "serverinfo"]), entries=st.lists(st.dictionaries(KEYS, VALUES)))
def test_any_values_give_problems_and_nothing_else(root: str, entries: list[dict[str, Any]]) -> None:
    with contextlib.suppress(FileRefusedError):
        run(yaml.safe_dump({root: entries}), SHOP_TOKEN="x")


def test_the_command_prints_a_line_a_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "services.yaml"
    file.write_text(SHOP)
    call_command("import_services", str(file))
    call_command("import_services", str(file), "--prune")
    assert capsys.readouterr().out.splitlines() == [
        "shop: created (http://shop-1:8000/metrics, http://shop-2:8000/metrics)",
        "stock: created (https://stock.internal/metrics)",
        "shop: unchanged",
        "stock: unchanged",
    ]


def test_the_command_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(GIN).encode())))
    monkeypatch.setenv("SHOP_TOKEN", "unused")
    call_command("import_services", "-")
    printed = capsys.readouterr().out
    assert "Note: database was not read" in printed
    assert "influx-token" not in printed


def test_the_command_reports_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file or directory"):
        call_command("import_services", str(tmp_path / "missing.yaml"))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("import_services", str(tmp_path))
    file = tmp_path / "services.yaml"
    file.write_text("services: [{name: shop}, {nam: shop}]")
    with pytest.raises(CommandError) as caught:
        call_command("import_services", str(file))
    assert str(caught.value).splitlines() == [
        f"{file} was not imported, and nothing was changed:",
        "  services[1]: unknown key 'nam'. Did you mean 'name'?",
        "  services[1]: name: is missing.",
        "  services[0] (shop): a new service needs url or urls, the address of its metrics document.",
    ]


def test_a_database_without_tables_says_migrate(tmp_path: Path) -> None:
    file = tmp_path / "services.yaml"
    file.write_text(SHOP)
    command = [sys.executable, "-m", "django", "import_services", str(file), "--settings=tests.settings"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    assert done.returncode == 1
    assert "Has manage.py migrate been run?" in done.stderr
    assert "Traceback" not in done.stderr


def test_yaml_is_imported_only_to_read_a_file() -> None:
    command = "monitoring.management.commands.import_services"
    code = f"import django, sys; django.setup(); import {command}; assert 'yaml' not in sys.modules"
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent, env=environment)


def test_the_command_shows_a_screenful_of_problems(tmp_path: Path) -> None:
    file = tmp_path / "services.yaml"
    file.write_text("services: [" + "a," * 1000 + "]")
    with pytest.raises(CommandError) as caught:
        call_command("import_services", str(file))
    printed = str(caught.value).splitlines()
    assert len(printed) == 52
    assert printed[-1] == "  ... and 950 more"


def test_the_documentations_examples_can_be_imported() -> None:
    text = (Path(__file__).parent.parent / "docs" / "import.md").read_text()
    blocks = [block.partition("\n")[2] for block in text.split("```")[1::2] if block.startswith(("yaml", "json"))]
    assert len(blocks) == 2
    for block in blocks:
        assert run(block, BLOG_TOKEN="x")
