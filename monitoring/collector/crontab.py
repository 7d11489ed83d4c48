"""The one line of the user's crontab that polls: composed by django-crontab, installed with every step checked.

django-crontab gives the line its form and runs it. What it leaves to chance is done here: paths are quoted, the settings
module is named, a failing `crontab` program is noticed, and the lines of others stay as they are, byte for byte.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitoring.collector.crontab_program import CrontabError, Program

JOB = ("* * * * *", "django.core.management.call_command", ["collect_metrics", "--due"])
"""The only line that CRONJOBS needs. Every minute: when a service is due stands in the database."""

_QUIET = ">/dev/null"
"""What follows the command unless the project says otherwise. Cron mails what a command prints, and this one prints each minute;
what went wrong goes to standard error."""

_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_JOB_HASH = re.compile(r"\scrontab run ([0-9a-f]{32})(?:\s|$)")


@dataclass(frozen=True)
class Target:
    """What the line starts. Paths are absolute and as they are, not quoted."""

    python: str
    manage_path: str
    settings_module: str


@dataclass(frozen=True)
class Jobs:
    """The line as it should stand, and what tells this project's lines from everybody else's.

    django-crontab marks a line by its comment ("django-cronjobs for PROJECT") and the hash of its job.
    """

    line: str
    comment: str
    others: frozenset[str]
    """Hashes of the project's other jobs, which `manage.py crontab` looks after."""

    def ours(self, crontab: str) -> list[str]:
        """The lines that poll for this project, or did under an older CRONJOBS."""
        return [line for line in _LINES.findall(crontab) if self._is_ours(line)]

    def without_ours(self, crontab: str) -> str:
        return "".join(line for line in _LINES.findall(crontab) if not self._is_ours(line))

    def _is_ours(self, line: str) -> bool:
        command, comment = _split(line)
        job = _JOB_HASH.search(command)
        if job is None:
            return False
        if comment == self.comment and job[1] not in self.others:
            return True
        return command == _split(self.line)[0]  # put there by hand, or before CRONTAB_COMMENT changed


def find_target(
    options: Mapping[str, Any], *, manage_path: str | None, script: str, python: str, project_dir: str, settings_module: str
) -> Target:
    """Python, manage.py and settings of the line.

    `options` are django-crontab's settings. manage.py is `manage_path`, else CRONTAB_DJANGO_MANAGE_PATH, else the `script` that
    runs now, else the one in `project_dir`. Links are kept: they lead into a virtual environment or to the current release.
    """
    is_manage = os.path.basename(script) == "manage.py" and os.path.isfile(script)
    manage_path = (
        manage_path
        or options.get("CRONTAB_DJANGO_MANAGE_PATH")
        or (script if is_manage else os.path.join(project_dir, "manage.py"))
    )
    return Target(
        os.path.abspath(options.get("CRONTAB_PYTHON_EXECUTABLE") or python),
        os.path.abspath(manage_path),
        str(options.get("CRONTAB_DJANGO_SETTINGS_MODULE") or settings_module),
    )


def find_jobs(options: Mapping[str, Any], target: Target) -> Jobs:
    """The lines of this project. `options` are django-crontab's settings; where CRONJOBS does not poll, JOB is the line."""
    composer = _composer()
    cronjobs = _listed(options)
    polling = [job for job in cronjobs if _polls(job)]
    others = [_JOB_HASH.search(_compose(composer, job, target)) for job in cronjobs if job not in polling]
    return Jobs(
        line=_compose(composer, polling[0] if polling else JOB, target),
        comment=composer.settings.CRONTAB_COMMENT,
        others=frozenset(found[1] for found in others if found),
    )


def check(options: Mapping[str, Any], target: Target, jobs: Jobs) -> None:
    """Raises CrontabError unless cron could carry the line, what it starts is there, and CRONJOBS lets it run."""
    for word in (target.python, target.manage_path, target.settings_module):
        if not word.isprintable() or "#" in word or "\\" in word:
            raise CrontabError(
                f"{word!r} holds a #, a backslash or an unprintable character, which a crontab line cannot carry: use another"
                " path (a symbolic link will do), or poll without cron: manage.py collect_metrics --loop"
            )
    if not (os.path.isfile(target.python) and os.access(target.python, os.X_OK)):
        raise CrontabError(f"{target.python} is not a Python that can be run: set CRONTAB_PYTHON_EXECUTABLE to its path.")
    if not os.path.isfile(target.manage_path):
        raise CrontabError(f"{target.manage_path} does not exist: say where manage.py is with --manage-path PATH.")
    _check_cronjobs([job for job in _listed(options) if _polls(job)])
    _check_own_parts(jobs)


def install(program: Program, jobs: Jobs) -> bool:
    """Puts the line there, exactly once; False if it stands there already. Raises CrontabError, the crontab as before."""
    before = program.read()
    if jobs.ours(before) == [jobs.line]:
        return False
    foreign = jobs.without_ours(before)
    if foreign and not foreign.endswith("\n"):
        foreign += "\n"
    program.replace(before, foreign + jobs.line)
    return True


def remove(program: Program, jobs: Jobs) -> int:
    """Takes our lines out, and says how many there were. Raises CrontabError, the crontab as before."""
    before = program.read()
    ours = jobs.ours(before)
    if ours:
        program.replace(before, jobs.without_ours(before))
    return len(ours)


def verify(program: Program, jobs: Jobs) -> None:
    """Raises CrontabError unless the line is there once and as `install` would write it."""
    ours = jobs.ours(program.read())
    again = "Run: manage.py collect_crontab install"
    if not ours:
        raise CrontabError(f"The crontab has no line that polls for this project. {again}")
    if len(ours) > 1:
        raise CrontabError(f"The crontab polls for this project {len(ours)} times:\n{_indented(ours)}\n{again}")
    if ours != [jobs.line]:
        gone = "".join(f"\n{path} does not exist." for path in _paths(ours[0]) if not os.path.exists(path))
        raise CrontabError(
            f"The line in the crontab is out of date:\n{_indented(ours)}\n"
            f"As Python, manage.py and the settings are now, it should be:\n{_indented([jobs.line])}{gone}\n{again}"
        )


_ADD = (
    "CRONJOBS does not hold the line that polls. Add to the settings (schedules stand in the database, so it never changes):\n"
    f"    CRONJOBS = [{JOB!r}]"
)


def _listed(options: Mapping[str, Any]) -> list[Any]:
    cronjobs = options.get("CRONJOBS")
    return list(cronjobs) if isinstance(cronjobs, list | tuple) else []


def _polls(job: Any) -> bool:
    """Whether an entry of CRONJOBS runs collect_metrics, in whatever way."""
    if not isinstance(job, list | tuple) or len(job) < 3 or not isinstance(job[2], list | tuple):
        return False
    return bool(job[1] == JOB[1] and job[2] and job[2][0] == JOB[2][0])


def _check_cronjobs(polling: Sequence[Any]) -> None:
    if not polling:
        raise CrontabError(_ADD)
    if len(polling) > 1:
        raise CrontabError(f"CRONJOBS holds {len(polling)} lines that poll. Keep only {JOB!r}.")
    job = polling[0]
    if str(job[0]).split() != JOB[0].split() or "--due" not in job[2]:
        raise CrontabError(
            f"CRONJOBS polls with {job!r}. Write {JOB!r}: it has to run every minute with --due,"
            " because when a service is polled stands in its schedule in the admin."
        )


def _composer() -> Any:
    """A Crontab of django-crontab, which reads its settings from Django's."""
    try:
        from django_crontab.crontab import Crontab  # here, as it cannot be imported on Windows
    except ImportError as error:
        raise CrontabError(
            f"django-crontab cannot be imported ({error}). Install it with: pip install 'django-fleet-monitoring[monitor]'"
        ) from None
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that it found no manage.py, which Target says
            return Crontab(verbosity=0)
    except KeyError:
        raise CrontabError("DJANGO_SETTINGS_MODULE is not set: run this command through the project's manage.py.") from None


def _compose(composer: Any, job: Any, target: Target) -> str:
    composer.crontab_lines = []
    composer.settings.CRONJOBS = [job]
    composer.settings.PYTHON_EXECUTABLE = _quote(target.python)
    composer.settings.DJANGO_MANAGE_PATH = _quote(target.manage_path)
    composer.settings.DJANGO_SETTINGS_MODULE = _quote(target.settings_module)
    if _polls(job) and len(job) < 5 and not composer.settings.COMMAND_SUFFIX:
        composer.settings.COMMAND_SUFFIX = _QUIET
    try:
        composer.add_jobs()
    except (TypeError, LookupError) as error:
        raise CrontabError(f"CRONJOBS holds {job!r}, which django-crontab cannot read: {error}.") from None
    return str(composer.crontab_lines[0])


def _check_own_parts(jobs: Jobs) -> None:
    """What CRONTAB_COMMAND_PREFIX and its like may have broken in the line."""
    command, comment = _split(jobs.line)
    if jobs.line.count("\n") != 1 or comment != jobs.comment:
        raise CrontabError(
            "The line would not be found again, because CRONTAB_COMMAND_PREFIX or CRONTAB_COMMAND_SUFFIX holds a # or a line"
            f" break, or CRONTAB_COMMENT begins with a space or holds a line break. Take it out:\n{_indented([jobs.line])}"
        )
    if re.search(r"(?<!\\)%", command):
        raise CrontabError(
            "CRONTAB_COMMAND_PREFIX or CRONTAB_COMMAND_SUFFIX holds a %, where cron would end the command. Write \\% instead."
        )


def _split(line: str) -> tuple[str, str]:
    """The command and the comment of a line as django-crontab reads it; both empty where it is no job."""
    found = re.match(r"\s*(?:[^#\s]+\s+){5}([^#\n]*)(?:#\s*([^\n]*))?$", line)
    return (found[1].strip(), found[2] or "") if found else ("", "")


def _paths(line: str) -> list[str]:
    """Python and manage.py of a line."""
    before, _separator, _rest = _split(line)[0].partition(" crontab run ")
    try:
        return shlex.split(before)[-2:]
    except ValueError:
        return []


def _quote(word: str) -> str:
    """One word for cron and for the shell. Cron takes a bare % for a line break; \\% outside quotes is a % to both."""
    return r"\%".join(shlex.quote(part) if part else "" for part in word.split("%"))


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"    {line.rstrip()}" for line in lines)
