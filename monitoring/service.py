"""This service as its settings describe it: where the middleware, the views and the checks get its metrics from."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path

from django.utils.module_loading import import_string

from monitoring.conf import ExporterSetting, conf
from monitoring.instrument import linefile, metrics, statedir
from monitoring.instrument.exporting import ExportQueue
from monitoring.instrument.requesttracing import RequestTracer
from monitoring.instrument.spans import Options

logger = logging.getLogger("monitoring")

_queues: dict[str, ExportQueue] = {}
_making = threading.Lock()


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


def request_tracer() -> RequestTracer:
    """What traces this service's requests."""
    queues = [queue for queue in map(_export_queue, conf.EXPORTERS) if queue is not None]
    options = Options(
        service_name=conf.SERVICE_NAME,
        trust_incoming=conf.TRUST_INCOMING,
        sample_rate=conf.SAMPLE_RATE,
        slow_seconds=conf.SLOW_SECONDS,
        propagate_to=conf.PROPAGATE_TO,
        capture_sql=conf.CAPTURE_SQL,
        capture_logs=None if conf.CAPTURE_LOGS is None else logging.getLevelName(conf.CAPTURE_LOGS),
        exports=bool(queues),
    )
    trace_log = None if conf.TRACE_LOG is None else linefile.shared(conf.TRACE_LOG)
    return RequestTracer(options, trace_log, conf.TRACE_LOG_FORMAT == "json", queues)


def _export_queue(setting: ExporterSetting) -> ExportQueue | None:
    """The one queue of this process for an exporter; None where the exporter cannot be made, which is said in the log."""
    with _making:
        key = repr(setting)
        if key not in _queues:
            try:
                _queues[key] = ExportQueue(import_string(setting.backend)(**setting.options))
            except Exception:
                logger.exception(
                    "The exporter %s cannot be made, and gets no spans. See EXPORTERS in MONITORING.", setting.backend
                )
                return None
        return _queues[key]
