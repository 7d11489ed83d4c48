"""One of the demo's test servers in a container: reached by its name, and with its log as JSON in a file, for Alloy.

From the environment, beside what demo_project.services.settings reads: APP_LOG_DIR.
"""

from __future__ import annotations

import os
from typing import Any

from demo_project.services.settings import *  # noqa: F403
from demo_project.services.settings import DEMO_SERVICE
from demo_project.services.settings import MONITORING as _MONITORING

ALLOWED_HOSTS = ["localhost", "127.0.0.1", DEMO_SERVICE]
MONITORING = {**_MONITORING, "EXCLUDE_PATHS": [r"/metrics$"]}  # a health check every five seconds is no request to trace
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"trace": {"()": "monitoring.instrument.logs.TraceContextFilter"}},
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s [%(trace_id)s] %(message)s"},
        "json": {"()": "monitoring.instrument.logs.JSONFormatter"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "filters": ["trace"], "formatter": "line"},
        "file": {
            "class": "logging.handlers.WatchedFileHandler",
            "filename": os.path.join(os.environ.get("APP_LOG_DIR", "/var/log/app"), f"{DEMO_SERVICE}.log"),
            "filters": ["trace"],
            "formatter": "json",
        },
    },
    "root": {"handlers": ["stderr", "file"], "level": "WARNING"},
    "loggers": {"django": {"handlers": [], "level": "WARNING"}},
}
