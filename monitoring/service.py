"""This service as its settings describe it: where the middleware, the views and the checks get its metrics from."""

from __future__ import annotations

from pathlib import Path

from django.core import mail

from monitoring.conf import conf
from monitoring.instrument import folder, metrics


def request_metrics() -> metrics.RequestMetrics:
    """The service's request metrics: the same object for everybody in this process."""
    if hasattr(mail, "outbox"):  # Django's test environment: a test run leaves no files behind
        state_dir = None
    elif conf.STATE_DIR is not None:
        state_dir = Path(conf.STATE_DIR)
    else:
        state_dir = folder.default_folder(conf.project_dir, conf.SERVICE_NAME)
    return metrics.shared(conf.SERVICE_NAME, state_dir, conf.MAX_SERIES)
