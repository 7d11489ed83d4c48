"""The `crontab` program, called so that no failure goes unseen and no line gets lost."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

_TIMEOUT = 30.0  # seconds; the program answers at once, unless something is badly wrong


class CrontabError(Exception):
    """What is wrong with the crontab, and what to do next."""


@dataclass(frozen=True)
class Program:
    """The `crontab` program, as the words it is called with."""

    words: tuple[str, ...]

    def read(self) -> str:
        """The crontab as it stands; bytes that are no UTF-8 survive. Raises CrontabError."""
        done = self._run("-l")
        if done.returncode == 0:
            return done.stdout.decode("utf-8", "surrogateescape")
        complaint = _said(done)
        # Debian, cronie and macOS say the first, BusyBox the second. On any other failure the lines there are unknown.
        if "no crontab for" in complaint or re.search(r"can't open '[^']*': No such file", complaint):
            return ""
        raise CrontabError(f"The crontab cannot be read: `{shlex.join(self.words)} -l` failed: {complaint}")

    def write(self, text: str) -> None:
        """Replaces the crontab; an empty one is removed. Raises CrontabError."""
        option, data = ("-", text.encode("utf-8", "surrogateescape")) if text else ("-r", b"")
        done = self._run(option, data)
        if done.returncode != 0:
            raise CrontabError(f"The crontab cannot be changed: `{shlex.join(self.words)} {option}` failed: {_said(done)}")

    def replace(self, before: str, after: str) -> None:
        """Writes and reads back. Raises CrontabError unless that is what stands there now, and puts `before` back."""
        try:
            self.write(after)
            if self.read() == after:
                return
            problem = f"`{shlex.join(self.words)}` reported success, but stored something else."
        except CrontabError as error:
            problem = str(error)
        restored = False
        with contextlib.suppress(CrontabError):
            if self.read() != before:
                self.write(before)
            restored = self.read() == before
        if restored:
            raise CrontabError(f"{problem}\nYour crontab is as it was before.")
        descriptor, path = tempfile.mkstemp(prefix="crontab-", suffix=".txt")
        with os.fdopen(descriptor, "wb") as file:
            file.write(before.encode("utf-8", "surrogateescape"))
        raise CrontabError(f"{problem}\nYour crontab could not be put back. Its lines are in {path}: run `crontab {path}`.")

    def _run(self, option: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        # CRONTAB_NOHEADER: a header shown by Debian's -l would be stored once more at each write.
        environment = {**os.environ, "LC_ALL": "C", "CRONTAB_NOHEADER": "Y"}
        command = [*self.words, option]
        try:
            return subprocess.run(command, input=data, capture_output=True, env=environment, timeout=_TIMEOUT, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CrontabError(f"`{shlex.join(command)}` cannot be run: {error}.") from None


def find_program(executable: str | None) -> Program:
    """The program to call: CRONTAB_EXECUTABLE (words, such as "crontab -u www-data"), else the `crontab` on PATH."""
    try:
        words = shlex.split(executable or "crontab")
    except ValueError as error:
        raise CrontabError(f"CRONTAB_EXECUTABLE is {executable!r}, which is no command ({error}).") from None
    found = shutil.which(words[0])
    if found is None:
        raise CrontabError(
            f"There is no program {words[0]!r} here. Install cron (on Debian: apt-get install cron), or poll without it, as in a"
            " container or on Windows: manage.py collect_metrics --loop"
        )
    return Program((found, *words[1:]))


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    text = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
    return text or f"exit code {done.returncode}, without a word"
