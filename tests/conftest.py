from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from monitoring.instrument import trouble

NO_SKIPS = os.environ.get("MONITORING_CI_NO_SKIPS") == "1"
"""Set where every server that tests need is installed: there a skipped test is one that was lost."""

# No test asserts on time, and examples that failed once are written into tests, not into a folder.
hypothesis.settings.register_profile("monitoring", deadline=None, database=None)
hypothesis.settings.load_profile("monitoring")


@pytest.fixture(autouse=True)
def nothing_was_said() -> None:
    """What a test before this one made the log say once may be said again."""
    trouble._said.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    return _fail_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    return _fail_if_skipped((yield))


def _fail_if_skipped(report: Any) -> Any:
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\nNo test may be skipped here (MONITORING_CI_NO_SKIPS=1): install what it needs."
    return report
