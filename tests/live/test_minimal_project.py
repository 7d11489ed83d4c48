"""A Django project with none but MIDDLEWARE, the URLs and MONITORING: no database, no app, not even ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.live.servers import free_port, running, started, wait_for

PROJECT = Path(__file__).resolve().parent.parent.parent

SETTINGS = """
from pathlib import Path

SECRET_KEY = "minimal"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "urls"
MIDDLEWARE = ["monitoring.middleware.MetricsMiddleware", "monitoring.middleware.TracingMiddleware"]
MONITORING = {"SERVICE_NAME": "minimal", "METRICS_PUBLIC": True, "STATE_DIR": Path(__file__).parent / "state"}
"""

URLS = """
from django.http import HttpResponse
from django.urls import include, path

urlpatterns = [path("hello", lambda request: HttpResponse("hello")), path("", include("monitoring.urls"))]
"""

RUN = """
import sys
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a project; processes that are started now use its settings."""
    for name, content in {"settings.py": SETTINGS, "urls.py": URLS, "manage.py": RUN}.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "settings")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    return tmp_path


def manage(project: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(project / "manage.py"), *arguments]


def assert_measures_itself(address: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        for _ in range(3):
            answer = session.get(f"{address}/hello", timeout=10)
            assert (answer.status_code, answer.text) == (200, "hello")
            assert len(answer.headers["X-Trace-ID"]) == 32
            assert len(answer.headers["X-Span-ID"]) == 16
        assert session.get(f"{address}/nowhere", timeout=10).status_code == 404

        def counted() -> bool:  # a worker counts a request after it has answered it
            document = session.get(f"{address}/metrics", timeout=10).json()
            assert document["service_name"] == "minimal"
            counts = {key: endpoint["status_codes"] for key, endpoint in document["metrics"].items()}
            return counts == {"GET/hello": {"200": 3}, "GET/unknown": {"404": 1}}

        wait_for(counted, what="the requests to be counted")


def test_under_djangos_own_server(project: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    log = project / "log"
    with running(manage(project, "runserver", address, "--noreload"), log) as process:
        started(process, log, f"http://{address}/metrics")
        assert_measures_itself(f"http://{address}")
        assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_under_several_workers(project: Path, server: str) -> None:
    (project / "app.py").write_text(f"from django.core.{server} import get_{server}_application as get\napplication = get()\n")
    address = f"127.0.0.1:{free_port()}"
    log = project / "log"
    host, _, port = address.partition(":")
    command = {
        "wsgi": ["-m", "gunicorn", "--workers", "2", "--bind", address, "--chdir", str(project), "app:application"],
        "asgi": ["-m", "uvicorn", "--workers", "2", "--host", host, "--port", port, "--app-dir", str(project), "app:application"],
    }[server]
    with running([sys.executable, *command], log) as process:
        started(process, log, f"http://{address}/metrics")
        assert_measures_itself(f"http://{address}")


def test_its_checks_pass(project: Path) -> None:
    checked = subprocess.run(manage(project, "check"), capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    assert "no issues" in checked.stdout


def test_it_loads_nothing_of_the_monitor(project: Path) -> None:
    program = (
        "import sys\nfrom django.test import Client\nimport django\ndjango.setup()\n"
        "assert Client().get('/metrics', SERVER_NAME='127.0.0.1').status_code == 200\n"
        "print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=project, capture_output=True, text=True, timeout=60)
    assert loaded.returncode == 0, loaded.stderr
    modules = set(loaded.stdout.split())
    assert "monitoring.middleware" in modules
    unwanted = {
        "monitoring.models",
        "monitoring.collector",
        "monitoring.dashboard",
        "influxdb_client",
        "cronsim",
        "django_crontab",
    }
    assert not modules & unwanted
    assert not modules & {"django.contrib.auth.models", "django.contrib.contenttypes.models", "requests"}
