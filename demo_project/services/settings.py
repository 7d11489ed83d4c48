"""The settings of a test server: no database, no user, no app but the instrument. This is all that being watched takes.

From the environment: DEMO_SERVICE, its name; DEMO_CALLS, the addresses that its /process calls, separated by spaces; DEMO_DIR.
"""

from __future__ import annotations

import os

from demo_project import places
from demo_project.logs import LOGGING as LOGGING

DEMO_SERVICE = os.environ.get("DEMO_SERVICE", "test-server1")
DEMO_CALLS = os.environ.get("DEMO_CALLS", "").split()

ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ROOT_URLCONF = "demo_project.services.urls"
INSTALLED_APPS = ["monitoring.instrument"]
MIDDLEWARE = ["monitoring.middleware.MetricsMiddleware", "monitoring.middleware.TracingMiddleware"]
USE_TZ = True
TIME_ZONE = "UTC"

MONITORING = {
    "SERVICE_NAME": DEMO_SERVICE,
    "METRICS_PUBLIC": True,
    "TRACE_LOG": places.trace_log(DEMO_SERVICE),
    "EXPORTERS": [
        {"BACKEND": "monitoring.instrument.exporters.FileExporter", "OPTIONS": {"path": places.spans(DEMO_SERVICE)}},
    ],
    "STATE_DIR": places.STATE / DEMO_SERVICE,
}
