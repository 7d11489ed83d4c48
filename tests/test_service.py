"""What leaves files behind, and what does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


def run(tmp_path, *arguments):
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run([sys.executable, *arguments], cwd=PROJECT, env=environment, check=True, capture_output=True)
    return list((tmp_path / "state").rglob("*.counters"))


@pytest.mark.parametrize("command", [["check"], ["migrate"], ["showmigrations"], ["help"]], ids=" ".join)
def test_management_commands_leave_no_files(tmp_path, command):
    assert run(tmp_path, "-m", "django", *command) == []
    assert not (tmp_path / "state").exists()


def test_a_test_run_leaves_no_files_and_a_server_does(tmp_path):
    program = (
        "import django; django.setup()\n"
        "from django.test import Client\n"
        "from django.test.utils import setup_test_environment, teardown_test_environment\n"
        "setup_test_environment()\n"
        "Client().get('/metrics')\n"
        "teardown_test_environment()\n"
    )
    assert run(tmp_path, "-c", program) == []
    assert len(run(tmp_path, "-c", program + "Client().get('/metrics', headers={'host': 'localhost'})\n")) == 1
