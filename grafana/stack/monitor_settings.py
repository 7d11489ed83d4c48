"""The demo's monitor in a container; what it reads from the environment is in demo_project.settings."""

from __future__ import annotations

from demo_project.settings import *  # noqa: F403
from demo_project.settings import MONITORING as _MONITORING

ALLOWED_HOSTS = ["localhost", "127.0.0.1", "monitor"]
MONITORING = {**_MONITORING, "TRACE_LOGS": ["/var/log/trace/*.log"]}  # of the services, whose folder is mounted there to be read
