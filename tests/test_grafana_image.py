"""What the Dockerfile's steps make works: the services, the monitor and its setup, as the compose file starts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import yaml

from monitoring.tracelines import parse_line
from tests.grafana import alloy
from tests.grafana.dashboards import FOLDER
from tests.grafana.image import Image
from tests.live.servers import free_port, running, started, wait_for

STARTED: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]
PROCESSES = {
    block.label: block
    for block in alloy.parse((FOLDER / "config.alloy").read_text(encoding="utf-8"))
    if block.name == "loki.process"
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(tmp_path_factory.mktemp("image"))


@contextmanager
def serving(image: Image, tmp_path: Path, service: str, path: str, **variables: str) -> Iterator[str]:
    """A service of the compose file by its own command, but on a free port; waits until the path answers."""
    port, log = free_port(), tmp_path / "gunicorn.log"
    program, *arguments = STARTED[service]["command"]
    arguments = [argument.replace("0.0.0.0:8000", f"127.0.0.1:{port}") for argument in arguments]
    environment = {**image.environment, **variables}
    with running([image.program(program), *arguments], log, cwd=image.app, env=environment) as process:
        started(process, log, f"http://127.0.0.1:{port}{path}")
        yield f"http://127.0.0.1:{port}"


def test_a_service_answers_and_its_logs_are_as_alloy_wants_them(image: Image, tmp_path: Path) -> None:
    calls = {"DEMO_SERVICE": "test-server1", "DEMO_CALLS": f"http://127.0.0.1:{free_port()}/process"}
    with serving(image, tmp_path, "test-server1", "/metrics", **calls) as url:
        with pytest.raises(HTTPError, match="502") as failure:  # nobody is behind it
            urlopen(f"{url}/process", timeout=10)
        trace_id = failure.value.headers["X-Trace-ID"]
        failure.value.close()
        trace_line = wait_for((image.data / "logs/test-server1.log").read_text)
        app_line = wait_for((image.logs / "test-server1.log").read_text).splitlines()[0]
    assert parse_line(trace_line).status == 502
    trace = alloy.process(PROCESSES["trace"], trace_line.rstrip(), {"job": "trace"})
    assert (trace.labels["service_name"], trace.metadata["trace_id"]) == ("test-server1", trace_id)
    app = alloy.process(PROCESSES["app"], app_line, {"job": "app", "filename": "/var/log/app/test-server1.log"})
    assert (app.labels["level"], app.metadata["trace_id"]) == ("ERROR", trace_id)
    assert app.metadata["logger"] == "django.request"


def test_the_monitor_is_set_up_again_and_again_and_serves_its_pages_with_their_style(image: Image, tmp_path: Path) -> None:
    environment = {
        "DJANGO_SETTINGS_MODULE": "grafana.stack.monitor_settings",
        "DJANGO_DEBUG": "0",
        "DJANGO_SECRET_KEY": "secret" * 9,
    }
    for said in ("created", "unchanged"):
        output = image.run(*STARTED["setup"]["command"], **environment, MONITOR_PASSWORD="secret")
        assert output.count(said) >= 4, output
    with serving(image, tmp_path, "monitor", "/admin/login/", **environment) as url:
        for path in ("/static/monitoring/monitoring.css", "/static/admin/css/base.css"):
            urlopen(url + path, timeout=10).close()


def test_without_a_password_the_setup_says_what_is_missing(image: Image) -> None:
    with pytest.raises(AssertionError, match="MONITOR_PASSWORD is not set"):
        image.run(*STARTED["setup"]["command"])


def test_the_traffic_knows_the_services(image: Image) -> None:
    module = STARTED["traffic"]["command"][-1]
    assert "test-server1" in image.run("python", "-c", f"import {module} as traffic; print(traffic.SERVICES)")
    for name in ("collector", "monitor"):
        assert STARTED[name]["environment"] == STARTED["collector"]["environment"]
