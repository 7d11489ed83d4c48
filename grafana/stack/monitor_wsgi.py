"""The monitor with its static files, for a demo without a web server before it. In production: docs/deployment.md."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "grafana.stack.monitor_settings")
application = StaticFilesHandler(get_wsgi_application())
