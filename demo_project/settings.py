"""The demo's monitor: a Django project with the admin, the monitoring app, and one SQLite file.

From the environment: INFLUXDB_URL, INFLUXDB_TOKEN, INFLUXDB_ORG, INFLUXDB_BUCKET (points are written there as well, if set),
DJANGO_DEBUG (0 or 1), DJANGO_SECRET_KEY (default: made at the first start and kept in the demo's folder), DEMO_DIR.

It is made to be looked at on one's own machine: DEBUG is on, and it answers to localhost alone.
"""

from __future__ import annotations

import os

from django.core.exceptions import ImproperlyConfigured

from demo_project import places
from demo_project.logs import LOGGING as LOGGING

BASE_DIR = places.PROJECT_DIR
try:
    places.prepare()
    SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or places.kept_secret("secret-key", 50)
except OSError as error:
    raise ImproperlyConfigured(
        f"The demo keeps its files in {places.DEMO_DIR}, which does not work: {error}."
        " Set the environment variable DEMO_DIR to a folder that you can write to."
    ) from None
DEBUG = os.environ.get("DJANGO_DEBUG", "1").lower() not in ("0", "false", "no", "off", "")
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
SESSION_COOKIE_NAME = "monitoring_demo_session"  # cookies of localhost are shared by all ports: leave other projects' alone

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_crontab",
    "monitoring",
    "demo_project",
]
MIDDLEWARE = [
    "monitoring.middleware.MetricsMiddleware",
    "monitoring.middleware.TracingMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "demo_project.urls"
WSGI_APPLICATION = "demo_project.wsgi.application"
ASGI_APPLICATION = "demo_project.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Pages read while the collector writes: WAL lets them, and a transaction that will write says so when it begins, so that it waits
# for its turn instead of failing halfway.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": places.DATABASE,
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"

# The only line that cron needs. `manage.py demo` polls by itself, so the demo installs none.
CRONJOBS = [("* * * * *", "django.core.management.call_command", ["collect_metrics", "--due"])]

MONITORING = {
    "SERVICE_NAME": "monitor",
    "STATE_DIR": places.STATE / "monitor",
    "TRACE_LOG": places.trace_log("monitor"),
    "TRACE_LOGS": [places.trace_logs()],
    "INFLUXDB": {name: os.environ.get(f"INFLUXDB_{name}", "") for name in ("URL", "TOKEN", "ORG", "BUCKET")},
}
