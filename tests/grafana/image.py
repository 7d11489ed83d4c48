"""The Dockerfile, and its steps without Docker: COPY and RUN in a folder and a virtual environment of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

_NAMED_ONLY = """
set -eu
useradd() { echo "useradd $*"; }
install() { echo "install $*"; }
"""
"""Steps that would make a user and folders of this machine."""


def dockerfile() -> str:
    return (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Each as its word and the rest."""
    lines = [line for line in dockerfile().replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


class Image:
    """What the steps made. `app` is its /app, `data` its /data, `logs` its /var/log/app."""

    def __init__(self, folder: Path) -> None:
        self.app, self.data, self.logs = folder / "app", folder / "data", folder / "app-logs"
        venv = folder / "venv"
        for path in (self.app, self.data / "logs", self.logs):
            path.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        kept = ("HOME", "LANG", "LC_ALL", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
        self.environment = {
            name: value for name, value in os.environ.items() if name.upper() in kept or name.startswith("PIP_")
        } | {"PATH": f"{venv}/bin:/usr/bin:/bin", "DEMO_DIR": str(self.data), "APP_LOG_DIR": str(self.logs)}
        for word, rest in instructions():
            if word == "COPY":
                self._copy(*rest.split())
            elif word == "RUN":
                self.run("sh", "-c", _NAMED_ONLY + rest)

    def program(self, name: str) -> str:
        return shutil.which(name, path=self.environment["PATH"]) or name

    def run(self, *command: str, **variables: str) -> str:
        """A command in /app: its output. Fails where the command does."""
        environment = {**self.environment, **variables}
        done = subprocess.run(
            [self.program(command[0]), *command[1:]], cwd=self.app, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _copy(self, source: str, target: str) -> None:
        place = self.app / target
        if (REPOSITORY / source).is_dir():
            shutil.copytree(REPOSITORY / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / source, place)
