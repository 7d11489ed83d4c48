"""collect_crontab against a small `crontab` program that keeps its table in a file."""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django_crontab.crontab import Crontab

from monitoring.collector import crontab
from monitoring.collector.crontab_program import CrontabError, Program

FOREIGN = b'# my own\nMAILTO=me@example.com\n\n0 3 * * *  /usr/local/bin/backup --to "a b"  # nightly\n@reboot \xe9cho\t100\\%\n'
OTHER_PROJECT = (
    b"* * * * * /other/python /other/manage.py crontab run 0123456789abcdef0123456789abcdef  # django-cronjobs for other\n"
)

PROGRAM = """#!/bin/sh
table={table}
case "$1" in
    -l) test -f "$table" || {{ echo "no crontab for tester" >&2; exit 1; }}; cat "$table" ;;
    -r) rm "$table" ;;
    -) echo write >> "$table.log"; {store} ;;
    *) echo "usage error" >&2; exit 1 ;;
esac
"""


class FakeCron:
    """The program, first in PATH, and what it stores."""

    def __init__(self, folder: Path) -> None:
        self.table = folder / "table"
        self.program = folder / "bin" / "crontab"
        self.program.parent.mkdir()
        self.behave('cat > "$table"')

    def behave(self, store: str) -> None:
        """How it stores what it is given: shell commands."""
        self.program.write_text(PROGRAM.format(table=shlex.quote(str(self.table)), store=store))
        self.program.chmod(0o755)

    @property
    def lines(self) -> list[bytes]:
        return self.table.read_bytes().splitlines(keepends=True) if self.table.exists() else []

    @property
    def writes(self) -> int:
        log = self.table.with_suffix(".log")
        return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def cron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCron:
    fake = FakeCron(tmp_path)
    monkeypatch.setenv("PATH", f"{fake.program.parent}:/usr/bin:/bin")
    return fake


@pytest.fixture
def manage_path(tmp_path: Path) -> str:
    path = tmp_path / "manage.py"
    path.touch()
    return str(path)


def run(action: str, manage_path: str | None = None) -> str:
    output = io.StringIO()
    call_command("collect_crontab", action, manage_path=manage_path, stdout=output)
    return output.getvalue()


def the_line(cron: FakeCron) -> str:
    (line,) = (line for line in cron.lines if b"crontab run" in line)
    return line.decode()


def test_install_adds_one_line_that_django_crontab_runs(cron, manage_path, monkeypatch):
    assert "Installed:" in run("install", manage_path)
    line = the_line(cron)
    assert line.startswith(f"* * * * * {sys.executable} {manage_path} crontab run ")
    assert line.endswith(" --settings=tests.settings >/dev/null # django-cronjobs for tests\n")
    words = shlex.split(line)
    called = []
    monkeypatch.setattr("django.core.management.call_command", lambda *arguments: called.append(arguments))
    Crontab().run_job(words[words.index("run") + 1])
    assert called == [("collect_metrics", "--due")]


def test_install_verify_and_remove_are_idempotent(cron, manage_path):
    run("install", manage_path)
    before = cron.lines
    assert "Already installed:" in run("install", manage_path)
    assert (cron.lines, cron.writes) == (before, 1)
    assert "up to date" in run("verify", manage_path)
    assert "Removed 1 line." in run("remove", manage_path)
    assert not cron.table.exists()
    assert "nothing to remove" in run("remove", manage_path)
    assert cron.writes == 1


@pytest.mark.parametrize("foreign", [FOREIGN, OTHER_PROJECT, FOREIGN + OTHER_PROJECT])
def test_lines_of_others_stay_byte_for_byte(cron, manage_path, foreign):
    cron.table.write_bytes(foreign)
    run("install", manage_path)
    assert b"".join(cron.lines[:-1]) == foreign
    run("verify", manage_path)
    run("remove", manage_path)
    assert cron.table.read_bytes() == foreign


def test_a_last_line_without_line_break_is_not_run_into(cron, manage_path):
    cron.table.write_bytes(b"0 3 * * * backup")
    run("install", manage_path)
    assert cron.lines[0] == b"0 3 * * * backup\n"
    assert the_line(cron).startswith("* * * * * ")


def test_the_projects_other_jobs_stay(cron, manage_path, settings):
    settings.CRONJOBS = [("0 4 * * *", "shop.cron.clean"), *settings.CRONJOBS]
    composer = Crontab(verbosity=0)
    composer.add_jobs()
    clean = composer.crontab_lines[0].encode()
    cron.table.write_bytes(clean)
    run("install", manage_path)
    assert (len(cron.lines), cron.lines[0]) == (2, clean)
    run("remove", manage_path)
    assert cron.lines == [clean]


@pytest.mark.parametrize("name", ["with space", "100%", "100 % sure", "it's", "$HOME `id`", "ünï", '"quoted"'])
def test_any_path_reaches_the_shell_as_it_is(cron, tmp_path, settings, name):
    folder = tmp_path / name
    folder.mkdir()
    python, manage = folder / "python", folder / "manage.py"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@" >&2\n')
    python.chmod(0o755)
    manage.touch()
    settings.CRONTAB_PYTHON_EXECUTABLE = python
    run("install", str(manage))
    run("verify", str(manage))
    line = the_line(cron)
    assert "%" not in line.replace("\\%", ""), "cron would end the command there"
    command = line.split(maxsplit=5)[5]
    for spelling in (command, command.replace("\\%", "%")):  # as BusyBox passes it to the shell, and as Debian's cron does
        done = subprocess.run(["/bin/sh", "-c", spelling], capture_output=True, text=True)
        printed = done.stderr.splitlines()
        assert done.stdout == "", "cron would mail it each minute"
        assert printed[:4] == [str(python), str(manage), "crontab", "run"]
        assert printed[5:] == ["--settings=tests.settings"]
    run("remove", str(manage))
    assert not cron.lines


@pytest.mark.parametrize("name", ["a#b", "a\\b", "a\nb"])
def test_a_path_that_no_crontab_line_can_carry_is_refused(cron, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "manage.py").touch()
    with pytest.raises(CommandError, match="symbolic link"):
        run("install", str(tmp_path / name / "manage.py"))
    assert not cron.table.exists()


def test_without_a_crontab_program_the_error_names_both_ways_out(tmp_path, monkeypatch, manage_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for action in ("install", "verify", "remove"):
        with pytest.raises(CommandError, match=r"apt-get install cron[\s\S]*collect_metrics --loop"):
            run(action, manage_path)


def test_crontab_executable_may_have_arguments(cron, manage_path, settings, tmp_path):
    other = tmp_path / "for user"
    other.write_text(f'#!/bin/sh\ntest "$1 $2" = "-u www-data" && exec {cron.program} "$3"\n')
    other.chmod(0o755)
    settings.CRONTAB_EXECUTABLE = f"'{other}' -u www-data"
    run("install", manage_path)
    assert the_line(cron)
    settings.CRONTAB_EXECUTABLE = "'unfinished"
    with pytest.raises(CommandError, match="CRONTAB_EXECUTABLE"):
        run("install", manage_path)


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("echo 'you may not' >&2; exit 1", "you may not"),
        ('head -c 10 > "$table"; exit 1', "exit code 1"),
        ("true", "stored something else"),
        ('cat > "$table.new"; grep -v backup "$table.new" > "$table"', "stored something else"),
    ],
)
def test_a_failing_program_is_an_error_and_costs_no_line(cron, manage_path, store, expected):
    cron.table.write_bytes(FOREIGN)
    cron.behave(f'if test -e "$table.used"; then cat > "$table"; else touch "$table.used"; {store}; fi')  # fails once
    with pytest.raises(CommandError, match=expected) as caught:
        run("install", manage_path)
    assert "Your crontab is as it was before." in str(caught.value)
    assert cron.table.read_bytes() == FOREIGN


def test_lines_that_cannot_be_put_back_are_kept_in_a_file(cron, manage_path, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cron.table.write_bytes(FOREIGN)
    cron.behave('head -c 10 > "$table"')
    with pytest.raises(CommandError, match="could not be put back"):
        run("install", manage_path)
    (kept,) = tmp_path.glob("crontab-*.txt")
    assert kept.read_bytes() == FOREIGN


def test_a_crontab_that_cannot_be_read_is_not_replaced(cron, manage_path):
    cron.table.write_bytes(FOREIGN)
    cron.program.write_text(
        PROGRAM.format(table=cron.table, store='cat > "$table"').replace("-l)", "-l) echo not allowed; exit 1;")
    )
    with pytest.raises(CommandError, match=r"cannot be read: .* not allowed"):
        run("install", manage_path)
    assert cron.table.read_bytes() == FOREIGN


def test_an_empty_crontab_as_busybox_says_it(cron, manage_path):
    cron.program.write_text(
        cron.program.read_text().replace("no crontab for tester", "crontab: can't open 'root': No such file or directory")
    )
    run("install", manage_path)
    assert the_line(cron)


def test_verify_says_what_is_wrong(cron, manage_path, tmp_path):
    with pytest.raises(CommandError, match=r"no line that polls[\s\S]*collect_crontab install"):
        run("verify", manage_path)
    run("install", manage_path)
    line = the_line(cron)

    cron.table.write_text(line * 2)
    with pytest.raises(CommandError, match="polls for this project 2 times"):
        run("verify", manage_path)
    run("install", manage_path)
    assert cron.table.read_text() == line

    cron.table.write_text(line.replace(sys.executable, "/old/python"))
    with pytest.raises(CommandError, match=r"out of date[\s\S]*/old/python does not exist\.\n"):
        run("verify", manage_path)
    run("install", manage_path)
    assert cron.table.read_text() == line

    (tmp_path / "moved.py").touch()
    with pytest.raises(CommandError, match="out of date"):
        run("verify", str(tmp_path / "moved.py"))


def test_a_line_of_an_older_cronjobs_is_replaced(cron, manage_path, settings):
    current = settings.CRONJOBS
    settings.CRONJOBS = [("* * * * *", "django.core.management.call_command", ["collect_metrics", "--due", "--verbosity=0"])]
    run("install", manage_path)
    stale = the_line(cron)
    settings.CRONJOBS = current
    with pytest.raises(CommandError, match="out of date"):
        run("verify", manage_path)
    run("install", manage_path)
    assert the_line(cron) != stale
    run("verify", manage_path)


def test_a_line_under_an_older_comment_is_not_left_beside_the_new_one(cron, manage_path, settings):
    run("install", manage_path)
    settings.CRONTAB_COMMENT = "shop, staging"
    run("install", manage_path)
    assert the_line(cron).endswith("# shop, staging\n")


@pytest.mark.parametrize(
    ("cronjobs", "expected"),
    [
        ([], "does not hold the line"),
        ("nonsense", "does not hold the line"),
        ([("0 4 * * *", "shop.cron.clean")], "does not hold the line"),
        ([crontab.JOB, crontab.JOB], "2 lines"),
        ([("*/5 * * * *", *crontab.JOB[1:])], "every minute"),
        ([(*crontab.JOB[:2], ["collect_metrics"])], "--due"),
        ([crontab.JOB, []], "cannot read"),
    ],
)
def test_a_wrong_cronjobs_is_an_error_that_shows_the_line(cron, manage_path, settings, cronjobs, expected):
    settings.CRONJOBS = cronjobs
    for action in ("install", "verify"):
        with pytest.raises(CommandError, match=expected):
            run(action, manage_path)
    assert not cron.table.exists()


def test_remove_works_after_the_settings_were_cleaned_up(cron, manage_path, settings):
    run("install", manage_path)
    settings.CRONJOBS = []
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_crontab"]
    Path(manage_path).unlink()
    assert "Removed 1 line." in run("remove", manage_path)


def test_django_crontab_has_to_be_installed(cron, manage_path, settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_crontab"]
    with pytest.raises(CommandError, match="INSTALLED_APPS"):
        run("install", manage_path)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CRONTAB_COMMAND_SUFFIX", "# quiet", "holds a #"),
        ("CRONTAB_COMMAND_PREFIX", "A=1\n", "line break"),
        ("CRONTAB_COMMENT", " blank", "begins with a space"),
        ("CRONTAB_COMMAND_SUFFIX", ">> /tmp/$(date +%F)", r"Write \\% instead"),
        ("CRONTAB_PYTHON_EXECUTABLE", "/no/python", "CRONTAB_PYTHON_EXECUTABLE"),
    ],
)
def test_settings_that_would_break_the_line(cron, manage_path, settings, name, value, expected):
    setattr(settings, name, value)
    with pytest.raises(CommandError, match=expected):
        run("install", manage_path)
    assert not cron.table.exists()


def test_prefix_and_suffix_of_the_user_stand_in_the_line(cron, manage_path, settings):
    settings.CRONTAB_COMMAND_PREFIX = "set -a; . /etc/shop.env; set +a;"
    settings.CRONTAB_COMMAND_SUFFIX = ">> /var/log/shop.log 2>&1"
    run("install", manage_path)
    run("verify", manage_path)
    line = the_line(cron)
    assert line.startswith(f"* * * * * set -a; . /etc/shop.env; set +a; {sys.executable} ")
    assert " >> /var/log/shop.log 2>&1 # django-cronjobs" in line


def test_a_suffix_of_the_job_itself_is_the_only_one(cron, manage_path, settings):
    settings.CRONJOBS = [(*crontab.JOB, {}, "2>&1 | logger")]
    run("install", manage_path)
    assert "--settings=tests.settings 2>&1 | logger # django" in the_line(cron)


def test_where_manage_py_is(tmp_path, manage_path):
    here = {"manage_path": None, "python": sys.executable, "project_dir": "/srv/shop", "settings_module": "shop.settings"}
    setting = {"CRONTAB_DJANGO_MANAGE_PATH": Path("/srv/set/manage.py")}
    find = crontab.find_target
    assert find({}, **here, script="/usr/bin/pytest").manage_path == "/srv/shop/manage.py"
    assert find({}, **here, script=manage_path).manage_path == manage_path
    assert find(setting, **here, script=manage_path).manage_path == "/srv/set/manage.py"
    assert find(setting, **{**here, "manage_path": "x/manage.py"}, script="").manage_path == str(Path.cwd() / "x/manage.py")


def test_a_missing_manage_py_is_an_error(cron, tmp_path):
    with pytest.raises(CommandError, match="--manage-path"):
        run("install", str(tmp_path / "nowhere.py"))


def test_the_settings_module_has_to_be_known(cron, manage_path, monkeypatch):
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    with pytest.raises(CommandError, match="DJANGO_SETTINGS_MODULE"):
        run("install", manage_path)


def test_a_program_that_cannot_be_started_is_an_error(tmp_path):
    broken = tmp_path / "crontab"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    with pytest.raises(CrontabError, match="cannot be run"):
        Program((str(broken),)).read()
