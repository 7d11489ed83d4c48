"""Where the demo keeps all that it writes: one folder, which may be deleted whenever no demo runs."""

from __future__ import annotations

import glob
import os
import secrets
import tempfile
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parent.parent

DEMO_DIR = Path(os.environ.get("DEMO_DIR") or PROJECT_DIR / ".demo").absolute()
"""The environment variable DEMO_DIR names another, for a second demo beside the first."""

DATABASE = DEMO_DIR / "monitor.sqlite3"
LOGS = DEMO_DIR / "logs"
STATE = DEMO_DIR / "state"
"""Counters of the worker processes, a folder each service."""


def trace_log(service_name: str) -> Path:
    return LOGS / f"{service_name}.log"


def trace_logs() -> str:
    """The pattern of them all."""
    return f"{glob.escape(str(LOGS))}/*.log"


def spans(service_name: str) -> Path:
    """What happened inside a service's requests, in OpenTelemetry's JSON."""
    return LOGS / f"{service_name}.spans.jsonl"


def output(process_name: str) -> Path:
    """What a process of the demo writes to its standard output and error."""
    return LOGS / f"{process_name}.out"


def prepare() -> None:
    """Make the folders; only their owner may look in, for there are a password and a secret key. Raises OSError."""
    DEMO_DIR.mkdir(0o700, parents=True, exist_ok=True)
    LOGS.mkdir(exist_ok=True)
    STATE.mkdir(exist_ok=True)


def kept_secret(name: str, length: int) -> str:
    """A random secret of so many bytes, which stays the same until its file is deleted. Raises OSError."""
    path = DEMO_DIR / name
    try:
        kept = path.read_text().strip()
    except FileNotFoundError:
        kept = ""
    if kept:
        return kept
    made = secrets.token_urlsafe(length)
    with tempfile.NamedTemporaryFile("w", dir=DEMO_DIR, prefix=name, delete=False) as file:  # readable by its owner alone
        file.write(made + "\n")
    os.replace(file.name, path)  # whole, or not at all
    return made
