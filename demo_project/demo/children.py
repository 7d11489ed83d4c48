"""The demo's processes: started, watched, and ended, whatever happens to the demo itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from demo_project import places

_GRACE = 3.0
"""Seconds between asking a process to end and making it."""


@dataclass
class Child:
    """A process of the demo. Its standard output and error go to a file."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def how_it_ended(self) -> str:
        """A part of a sentence, and the last lines that it wrote, if any."""
        code = self.process.returncode
        how = f"ended by signal {-code} ({_signal_name(-code)})" if code < 0 else f"ended with exit code {code}"
        lines = last_lines(self.output)
        if not lines:
            return f"{how}, and wrote nothing to {self.output}"
        return f"{how}. The last lines of {self.output}:\n" + "\n".join(f"    {line}" for line in lines)

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Children:
    """All of them; leaving the context ends them, the latest first.

    Each has one end of a pipe as its standard input and ends when the other is closed (see demo_project.child), which the system
    does when this process is gone. Each leads a process group of its own, so that Ctrl-C reaches this process alone, which then
    ends the others in order.
    """

    def __init__(self) -> None:
        self._all: list[Child] = []
        self._read_end, self._write_end = os.pipe()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            for child in reversed(self._all):
                child.end()
        finally:
            os.close(self._read_end)
            os.close(self._write_end)

    def start(self, name: str, arguments: list[str], settings: str, environment: Mapping[str, str]) -> Child:
        """Start `manage.py ARGUMENTS` with these settings; the environment is added to this process's."""
        output = places.output(name)
        with output.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 (our own program)
                [sys.executable, "-m", "demo_project.child", *arguments],
                cwd=places.PROJECT_DIR,
                env={**os.environ, **environment, "DJANGO_SETTINGS_MODULE": settings, "DEMO_DIR": str(places.DEMO_DIR)},
                stdin=self._read_end,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = Child(name, process, output)
        self._all.append(child)
        return child


def last_lines(path: Path, number: int = 12) -> list[str]:
    """The last lines of a text file; none where it cannot be read."""
    with contextlib.suppress(OSError), path.open(errors="replace") as file:
        return [line.rstrip() for line in deque(file, number)]
    return []


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return "unknown"
