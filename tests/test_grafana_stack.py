"""The compose file and what it starts, without a Docker engine: what can be told of them by reading, and by docker-compose."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo_project.services.behaviour import SERVICES
from tests.grafana import alloy
from tests.grafana.dashboards import DASHBOARDS, FOLDER
from tests.grafana.image import dockerfile, instructions
from tests.live.servers import requires

REPOSITORY = FOLDER.parent
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
STARTED = COMPOSE["services"]


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.name)
def test_yaml_parses(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(FOLDER, tmp_path / "grafana", ignore=shutil.ignore_patterns(".env", "__pycache__"))
    return tmp_path / "grafana"


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def env_of(folder: Path) -> dict[str, str]:
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_new_env_makes_a_secret_for_each_empty_name_and_keeps_what_is_there(folder: Path) -> None:
    assert run("./new-env", folder=folder).returncode == 0
    made = env_of(folder)
    secrets = {name: value for name, value in made.items() if not name.endswith("_PORT")}
    assert len(secrets) == 5
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in secrets.values())
    assert len(set(secrets.values())) == len(secrets)
    assert made["GRAFANA_PORT"] == "3000"
    assert (folder / ".env").stat().st_mode & 0o077 == 0
    again = run("./new-env", folder=folder)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert env_of(folder) == made


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    example = (FOLDER / ".env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)", text)) == set(re.findall(r"^(\w+)=", example, re.MULTILINE))


@requires("docker-compose")
def test_docker_compose_takes_the_file(folder: Path) -> None:
    command = ("docker-compose", "-f", "compose.yaml", "config")
    without = run(*command, folder=folder)
    assert without.returncode != 0
    assert "is missing in .env" in without.stderr
    run("./new-env", folder=folder)
    answer = run(*command, folder=folder)
    assert answer.returncode == 0, answer.stderr
    config = yaml.safe_load(answer.stdout)
    assert config["services"].keys() == STARTED.keys()
    secrets = env_of(folder)
    assert config["services"]["grafana"]["environment"]["INFLUXDB_TOKEN"] == secrets["INFLUXDB_TOKEN"]
    assert config["services"]["influxdb"]["environment"]["DOCKER_INFLUXDB_INIT_ADMIN_TOKEN"] == secrets["INFLUXDB_TOKEN"]
    assert config["services"]["collector"]["environment"]["INFLUXDB_TOKEN"] == secrets["INFLUXDB_TOKEN"]


def test_versions_are_pinned() -> None:
    images = {name: service["image"] for name, service in STARTED.items()}
    for name, image in images.items():
        assert re.search(r":v?\d+\.\d+\.\d+$|:local$", image), f"{name}: {image}"
    assert re.search(r"^FROM python:\d+\.\d+-slim-\w+$", dockerfile(), re.MULTILINE)
    assert re.search(r"gunicorn==\d", dockerfile())


def test_ports_are_this_machines_alone() -> None:
    ports = [port for service in STARTED.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_waits_for_health_waits_for_something_that_tells_it() -> None:
    for name, service in STARTED.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in STARTED
            if how["condition"] == "service_healthy":
                assert "healthcheck" in STARTED[other], f"{name} waits for {other}"


def test_every_mounted_file_is_there_and_every_volume_declared() -> None:
    for service in STARTED.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (FOLDER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], source
    assert os.access(FOLDER / "influxdb/map-database.sh", os.X_OK)


def test_logs_are_written_where_alloy_reads_them() -> None:
    def mounted(name: str) -> dict[str, str]:
        return dict(volume.split(":")[:2] for volume in STARTED[name]["volumes"])

    blocks = alloy.parse((FOLDER / "config.alloy").read_text(encoding="utf-8"))
    read = {target["__path__"] for block in blocks for target in block.attributes.get("path_targets", [])}
    assert read == {f"{mounted('alloy')['trace-logs']}/*.log", f"{mounted('alloy')['app-logs']}/*.log"}
    for name in SERVICES:
        assert mounted(name) == {"trace-logs": "/data/logs", "app-logs": "/var/log/app"}
        assert STARTED[name]["environment"]["DEMO_SERVICE"] == name
    assert "DEMO_DIR=/data\n" in dockerfile()
    (provider,) = yaml.safe_load((FOLDER / "provisioning/dashboards/monitoring.yaml").read_text(encoding="utf-8"))["providers"]
    assert mounted("grafana")["./dashboards"] == provider["options"]["path"]
    home = Path(STARTED["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert home.stem in DASHBOARDS


def test_the_monitor_reads_the_services_trace_logs_and_cannot_write_them() -> None:
    settings = (FOLDER / "stack/monitor_settings.py").read_text(encoding="utf-8")
    (pattern,) = re.findall(r'"TRACE_LOGS": \["(.*?)"\]', settings)
    assert f"trace-logs:{pattern.removesuffix('/*.log')}:ro" in STARTED["monitor"]["volumes"]


def test_grafana_knows_the_address_at_which_a_browser_reaches_the_monitor() -> None:
    (port,) = STARTED["monitor"]["ports"]
    assert (
        STARTED["grafana"]["environment"]["MONITOR_URL"]
        == f"http://localhost:{port.removeprefix('127.0.0.1:').removesuffix(':8000')}"
    )
    sources = (FOLDER / "provisioning/datasources/monitoring.yaml").read_text(encoding="utf-8")
    for name in re.findall(r"(?<!\$)\$(\w+)", sources):
        assert name in STARTED["grafana"]["environment"]


def test_each_service_calls_and_is_registered_as_in_the_demo() -> None:
    registered = yaml.safe_load((FOLDER / "stack/services.yaml").read_text(encoding="utf-8"))["services"]
    assert registered == [{"name": name, "url": f"http://{name}:8000/metrics"} for name in SERVICES]
    for name, behaviour in SERVICES.items():
        calls = STARTED[name]["environment"].get("DEMO_CALLS", "").split()
        assert calls == [f"http://{other}:8000/process" for other in behaviour.calls]


def test_loki_is_one_process_with_tsdb_and_schema_13() -> None:
    loki = yaml.safe_load((FOLDER / "loki.yaml").read_text(encoding="utf-8"))
    (schema,) = loki["schema_config"]["configs"]
    assert (schema["store"], schema["schema"], schema["index"]["period"]) == ("tsdb", "v13", "24h")
    assert loki["limits_config"]["allow_structured_metadata"] is True


def test_the_image_runs_as_somebody_who_is_not_root_and_holds_what_is_copied() -> None:
    assert ("USER", "app") in instructions()
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    for word, rest in instructions():
        if word == "COPY":
            source = rest.split()[0].removeprefix("./")
            assert (REPOSITORY / source).exists()
            assert f"!{source}" in ignored
