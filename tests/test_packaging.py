"""What the wheel will hold, as far as it can be told without building one (.ci/run builds one)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "monitoring"
PYPROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def requirements(lines: list[str]) -> dict[str, str]:
    """Package, in lower case, to its lowest version."""
    found = (re.match(r"([A-Za-z0-9_.-]+)\s*>=\s*([0-9.]+)", line) for line in lines)
    return {match[1].lower(): match[2] for match in found if match}


def test_every_file_that_is_no_module_is_package_data() -> None:
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["monitoring"]
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern) if path.is_file()}
    there = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert there - packed == set()


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_requirements_txt_has_what_the_package_and_its_monitor_ask_for() -> None:
    wanted = requirements(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["monitor"])
    assert len(wanted) == len(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["monitor"])
    given = requirements((REPOSITORY / "requirements.txt").read_text().splitlines())
    assert {name: given.get(name) for name in wanted} == wanted


def test_requirements_dev_txt_begins_with_requirements_txt() -> None:
    assert (REPOSITORY / "requirements-dev.txt").read_text().startswith("-r requirements.txt\n")


def test_the_version_stands_in_pyproject_alone() -> None:
    assert [path for path in PACKAGE.rglob("*.py") if re.search(r"__version__\s*=", path.read_text())] == []


def test_licence_and_readme_that_the_metadata_names_are_there() -> None:
    assert [name for name in (*PROJECT["license-files"], PROJECT["readme"]) if not (REPOSITORY / name).is_file()] == []


@pytest.mark.parametrize(("environment", "returncode"), [({}, 0), ({"MONITORING_CI_NO_SKIPS": "1"}, 1)])
def test_where_nothing_may_be_skipped_a_skip_fails(tmp_path: Path, environment: dict[str, str], returncode: int) -> None:
    (tmp_path / "test_skips.py").write_text("import pytest\ndef test_it():\n    pytest.skip('no server')\n")
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    inherited = {name: value for name, value in os.environ.items() if name != "MONITORING_CI_NO_SKIPS"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)],
        cwd=REPOSITORY,
        env={**inherited, **environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == returncode, done.stdout
    assert "no server" in done.stdout
