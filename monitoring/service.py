"""This service as its settings describe it: where the middleware, the views and the checks get its metrics from."""

from __future__ import annotations

import sys
from pathlib import Path

from monitoring.conf import conf
from monitoring.instrument import metrics, statedir


def request_metrics() -> metrics.RequestMetrics:
    """The service's request metrics: the same object for everybody in this process."""
    if _is_test_run():  # which leaves no files behind
        state_dir = None
    elif conf.STATE_DIR is not None:
        state_dir = Path(conf.STATE_DIR)
    else:
        state_dir = statedir.default_folder(conf.project_dir, conf.SERVICE_NAME)
    return metrics.shared(conf.SERVICE_NAME, state_dir, conf.MAX_SERIES)


def _is_test_run() -> bool:
    """Whether setup_test_environment() was called; without importing django.test, which no server needs."""
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")
