"""A PostgreSQL server of a test session's own: Debian's, in a temporary folder, ended by pid."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.servers import free_port, running, wait_for

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").exists() else []
"""Debian keeps a server's programs out of PATH."""

needs_postgresql = pytest.mark.skipif(not BINARIES, reason="needs PostgreSQL's server (Debian: apt install postgresql)")


@dataclass(frozen=True)
class PostgreSQL:
    """A running server, in which everybody on this machine is its superuser."""

    port: int
    binaries: Path

    def settings(self, name: str) -> dict[str, object]:
        """An entry of DATABASES."""
        return {"ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": "tests", "HOST": "127.0.0.1", "PORT": self.port}

    def create_database(self, name: str) -> None:
        connect = ["--host=127.0.0.1", f"--port={self.port}", "--username=tests"]
        subprocess.run([self.binaries / "createdb", *connect, name], check=True, timeout=60)


@contextmanager
def postgresql_server() -> Iterator[PostgreSQL]:
    """Started as an unprivileged user where the tests are root, as PostgreSQL refuses root."""
    binaries, port = BINARIES[-1], free_port()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:  # pytest's own folders are closed to other users
        folder = Path(name)
        folder.chmod(0o711)
        data = folder / "data"
        data.mkdir()
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")  # comes with the package
            os.chown(data, user.pw_uid, user.pw_gid)
            as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        initdb = [binaries / "initdb", "--pgdata", data, "--username=tests", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, timeout=120, cwd=data, **as_user)
        log = folder / "log"
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [str(one) for one in (binaries / "postgres", "-D", data, "-p", port, *settings)]
        process = stack.enter_context(running(command, log, cwd=data, **as_user))

        def ready() -> bool:
            if process.poll() is not None:
                pytest.fail(f"PostgreSQL ended with code {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
            check = [binaries / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={port}"]
            return subprocess.run(check, timeout=30).returncode == 0

        wait_for(ready, what="PostgreSQL to answer")
        yield PostgreSQL(port, binaries)
