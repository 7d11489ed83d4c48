"""collect_crontab with Debian's crontab program, and the installed line run as cron runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.live.servers import requires

REPOSITORY = Path(__file__).resolve().parent.parent.parent
CRONTAB = ["crontab", "-u", "nobody"]
ENVIRONMENT = {"HOME": "/", "LOGNAME": "nobody", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
"""All that cron gives to a command."""
FOREIGN = b'# somebody\'s own\nMAILTO=""\n0 3 * * 0\t/bin/true a\\%b  # weekly\n'

MANAGE = f"""import os, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "live_settings")
execute_from_command_line(sys.argv)
"""
SETTINGS = """from pathlib import Path
from tests.settings import *
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("db.sqlite3")}}
CRONTAB_EXECUTABLE = "crontab -u nobody"
"""
REGISTER = """
import datetime
from django.utils import timezone
from monitoring.models import Service
earlier = timezone.now() - datetime.timedelta(minutes=2)
shop = Service.objects.create(name="shop", registered_at=earlier)
shop.instances.create(url="{url}", registered_at=earlier)
"""

pytestmark = [
    requires("crontab"),
    pytest.mark.skipif(os.geteuid() != 0, reason="changes the crontab of the user nobody, which only root may"),
]


class Project:
    """A Django project in a folder that asks for quoting."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.manage_path = folder / "manage.py"
        self.manage_path.write_text(MANAGE)
        (folder / "live_settings.py").write_text(SETTINGS)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "live_settings"}
        command = [sys.executable, str(self.manage_path), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "it's 100 % mine")


@pytest.fixture
def table() -> Iterator[None]:
    """The crontab of nobody with a few foreign lines; afterwards as it was before."""
    before = subprocess.run([*CRONTAB, "-l"], capture_output=True)
    subprocess.run([*CRONTAB, "-"], input=FOREIGN, check=True)
    yield
    if before.returncode == 0:
        subprocess.run([*CRONTAB, "-"], input=before.stdout, check=True)
    else:
        subprocess.run([*CRONTAB, "-r"], capture_output=True)


def listed() -> bytes:
    return subprocess.run([*CRONTAB, "-l"], capture_output=True).stdout


@pytest.mark.usefixtures("table")
def test_debians_crontab_keeps_the_line_once_and_every_foreign_line(project):
    missing = project.manage("collect_crontab", "verify")
    assert missing.returncode == 1
    assert "collect_crontab install" in missing.stderr
    for _ in range(2):
        installed = project.manage("collect_crontab", "install")
        assert (installed.returncode, installed.stderr) == (0, "")
    assert listed().startswith(FOREIGN)
    assert listed().count(b"\n") == FOREIGN.count(b"\n") + 1
    assert project.manage("collect_crontab", "verify").returncode == 0
    assert project.manage("collect_crontab", "remove").returncode == 0
    assert listed() == FOREIGN


@pytest.mark.usefixtures("table")
def test_a_line_that_debians_crontab_refuses_is_an_error(project):
    with (project.manage_path.parent / "live_settings.py").open("a") as settings:
        settings.write(f"CRONTAB_COMMAND_SUFFIX = {'x' * 2000!r}\n")
    refused = project.manage("collect_crontab", "install")
    assert refused.returncode == 1
    assert "Your crontab is as it was before." in refused.stderr
    assert listed() == FOREIGN


@pytest.mark.usefixtures("table")
def test_the_installed_line_polls_from_anywhere_without_an_environment(project, tmp_path):
    document = {"service_name": "shop", "metrics": {"GET/ping": {"count": 3, "avg_duration": 0.5, "status_codes": {"200": 3}}}}
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert project.manage("migrate", "--verbosity=0").returncode == 0
        registered = project.manage("shell", "-c", REGISTER.format(url=f"http://127.0.0.1:{server.server_port}/metrics"))
        assert registered.returncode == 0, registered.stderr
        assert project.manage("collect_crontab", "install").returncode == 0
        (line,) = (line for line in listed().decode().splitlines() if "crontab run" in line)
        command = line.split(maxsplit=5)[5].replace("\\%", "%")  # as cron unescapes it
        done = subprocess.run(["/bin/sh", "-c", command], env=ENVIRONMENT, cwd="/", capture_output=True, text=True, timeout=60)
        server.shutdown()
    assert (done.returncode, asked) == (0, ["/metrics"]), done.stderr
    assert done.stdout + done.stderr == "", "cron would mail it each minute"
    states = project.manage("shell", "-c", "from monitoring.models import Service; print(Service.objects.get().state)")
    assert states.stdout.split()[-1] == "up"
