"""Debian's cron itself: it polls each minute, as a user that may do nothing else, from a folder whose name asks for quoting.

Slow: cron looks for new crontabs once a minute, and works on the minute.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.servers import requires, wait_for
from tests.scripted import ScriptedServer, answers

REPOSITORY = Path(__file__).resolve().parent.parent.parent
USER = "nobody"
PYTHON = "/usr/bin/python3"
"""Of the system: what runs these tests often lies where other users may not look."""

PACKAGES = ["django", "asgiref", "sqlparse", "django_crontab", "cronsim", "urllib3", "certifi", "tzdata"]
MANAGE = """import os, sys
sys.path.insert(0, {library!r})
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "live_settings")
execute_from_command_line(sys.argv)
"""
SETTINGS = """from pathlib import Path
from tests.settings import *
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("db.sqlite3")}}}}
CRONTAB_COMMAND_SUFFIX = ">>{log} 2>&1"
"""
REGISTER = """
from monitoring.models import Service
Service.objects.create(name="shop").instances.create(url="{url}")
"""
REPORT = """
from monitoring.models import Collector, Interval, Service
collector = Collector.objects.get()
print(collector.mode, collector.failed, repr(collector.error), Service.objects.get().state, Interval.objects.exists())
"""

pytestmark = [
    pytest.mark.system,
    requires("cron"),
    pytest.mark.skipif(os.geteuid() != 0, reason="starts cron, which only root may"),
]


class Project:
    """A project of a user who owns nothing else, with all that it imports beside it."""

    def __init__(self, folder: Path) -> None:
        self.user = pwd.getpwnam(USER)
        folder.chmod(0o755)
        library = folder / "library"
        for name in PACKAGES:
            spec = importlib.util.find_spec(name)
            assert spec is not None
            assert spec.submodule_search_locations
            shutil.copytree(spec.submodule_search_locations[0], library / name)
        for name in ("monitoring", "tests"):
            shutil.copytree(REPOSITORY / name, library / name)
        self.home = folder / "it's 100 % mine"
        self.home.mkdir()
        self.log = folder / "log"
        self.log.touch()
        (self.home / "manage.py").write_text(MANAGE.format(library=str(library)))
        (self.home / "live_settings.py").write_text(SETTINGS.format(log=self.log))
        for path in (self.home, *self.home.iterdir(), self.log):
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [PYTHON, str(self.home / "manage.py"), *arguments],
            user=self.user.pw_uid,
            group=self.user.pw_gid,
            extra_groups=[],
            env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def project() -> Iterator[Project]:
    with tempfile.TemporaryDirectory() as folder:
        yield Project(Path(folder))


@pytest.fixture
def cron() -> Iterator[None]:
    """The daemon, unless the machine has one; and the user's crontab as it was before."""
    crontab = ["crontab", "-u", USER]
    before = subprocess.run([*crontab, "-l"], capture_output=True)
    subprocess.run([*crontab, "-r"], capture_output=True)
    daemon = None
    if not any(path.read_text().strip() == "cron" for path in Path("/proc").glob("[0-9]*/comm") if path.exists()):
        daemon = subprocess.Popen(["cron", "-f"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield
    if before.returncode == 0:
        subprocess.run([*crontab, "-"], input=before.stdout, check=True)
    else:
        subprocess.run([*crontab, "-r"], capture_output=True)
    if daemon is not None:
        daemon.terminate()
        daemon.wait(10)


@pytest.mark.usefixtures("cron")
def test_cron_polls_each_minute(project: Project) -> None:
    counted = {"GET/": {"count": 3, "avg_duration": 0.5, "status_codes": {"200": 3}}}
    server = ScriptedServer(answers({"service_name": "shop", "metrics": counted}))
    try:
        project.manage("migrate", "--verbosity=0")
        project.manage("shell", "-c", REGISTER.format(url=server.url))
        project.manage("collect_crontab", "install")
        try:
            wait_for(lambda: len(server.requests) >= 2, seconds=240, what="two polls by cron")
        except AssertionError:
            pytest.fail(f"cron did not poll twice in four minutes; the line's output: {project.log.read_text()[-3000:]!r}")
        wait_for(lambda: project.log.read_text().count("  ok  ") >= 2, what="the end of the second round")
        assert project.manage("shell", "-c", REPORT).splitlines()[-1] == "cron 0 '' up True"
        project.manage("collect_crontab", "verify")
        project.manage("collect_crontab", "remove")
    finally:
        server.close()
    assert "Traceback" not in project.log.read_text()
