"""Every setting of the project: one typed, documented accessor each. Nothing else reads django.conf.settings.

Settings live in one dict, all optional::

    MONITORING = {"SERVICE_NAME": "shop", "METRICS_TOKEN": os.environ["METRICS_TOKEN"]}

An accessor never raises: a bad value counts as absent, and `problems()` (which the system checks report) says what is wrong with
it. So a typing error in a setting is an error at `manage.py check` and never one in a request.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings as django_settings

from monitoring.declaring import Problem, Setting, SettingError, as_boolean, as_path, as_pattern, as_string, setting
from monitoring.setting_values import (
    ExporterSetting,
    InfluxDB,
    Outbox,
    Retention,
    as_exporters,
    as_influxdb,
    as_outbox,
    as_retention,
)
from monitoring.targets import TargetError, Targets

__all__ = ["ExporterSetting", "InfluxDB", "Outbox", "Retention", "Settings", "conf", "problems"]


class Settings:
    """The settings as they stand now, so that `override_settings` works. Read them once, and pass the values on."""

    def raw(self) -> Mapping[str, Any]:
        value = getattr(django_settings, "MONITORING", None)
        return value if isinstance(value, dict) else {}

    @setting("E002")
    def SERVICE_NAME(self, value: Any) -> str:
        """The name under which this service reports itself. Default: the project's, as in ROOT_URLCONF."""
        if value is None:
            project = str(getattr(django_settings, "ROOT_URLCONF", "") or "").partition(".")[0]
            return project if project not in ("", "__main__", "urls") else "django"
        name = as_string(value, "SERVICE_NAME", "a name such as 'shop'")
        if len(name) > 200 or not name.isprintable():
            raise SettingError(
                "SERVICE_NAME is longer than 200 characters or holds a line break or another control character.",
                "Use a short name such as 'shop'.",
            )
        return name

    @setting("E003")
    def ENABLED(self, value: Any) -> bool:
        """False takes both middlewares out at start-up. Default: True."""
        return as_boolean(value, "ENABLED", True)

    @setting("E004")
    def STATE_DIR(self, value: Any) -> str | None:
        """The folder of the worker processes' counters. Default (None): one per user, project and service (see the store)."""
        return None if value is None else as_path(value, "STATE_DIR", "the absolute path of a folder of this service's own")

    @setting("E005")
    def METRICS_TOKEN(self, value: Any) -> str | None:
        """What `Authorization: Bearer` must carry to read /metrics. Default: none."""
        if value is None or value == "":  # empty as it comes from an environment variable that is not set
            return None
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
            raise SettingError(  # without the value: it is a secret
                "METRICS_TOKEN is not a string that an HTTP header can carry.",
                "Use letters and digits, for instance what `python -c 'import secrets; print(secrets.token_urlsafe())'` prints.",
            )
        return value

    @setting("E006")
    def METRICS_PUBLIC(self, value: Any) -> bool:
        """True lets anybody who reaches the service read /metrics. Default: False."""
        return as_boolean(value, "METRICS_PUBLIC", False)

    @setting("E015")
    def COUNT_METRICS_VIEW(self, value: Any) -> bool:
        """True counts the requests of /metrics itself too. Default: False."""
        return as_boolean(value, "COUNT_METRICS_VIEW", False)

    @setting("E007")
    def MAX_SERIES(self, value: Any) -> int:
        """How many endpoints (method + route) are counted apart; the rest share one. Default: 1,000."""
        if value is None:
            return 1000
        if type(value) is not int or not 1 <= value <= 100_000:
            raise SettingError(f"MAX_SERIES is {value!r}.", "Use a whole number from 1 to 100000.")
        return value

    @setting("E008")
    def EXCLUDE_PATHS(self, value: Any) -> tuple[re.Pattern[str], ...]:
        """Regular expressions; a request whose path one of them matches from its start is neither counted nor traced."""
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            raise SettingError(f"EXCLUDE_PATHS is {value!r}.", r"Use a list of regular expressions such as [r'/healthz$'].")
        return tuple(as_pattern(item) for item in value)

    @setting("E009")
    def TRACE_LOG(self, value: Any) -> str | None:
        """The file to which the trace log is appended; "-" for standard output. Default: none."""
        if value is None:
            return None
        return "-" if value == "-" else as_path(value, "TRACE_LOG", "the absolute path of a file, or '-' for standard output")

    @setting("E010")
    def TRACE_LOG_FORMAT(self, value: Any) -> str:
        """ "text" (the default) or "json"."""
        if value is None or value == "text":
            return "text"
        if value == "json":
            return "json"
        raise SettingError(f"TRACE_LOG_FORMAT is {value!r}.", "Use 'text' or 'json'.")

    @setting("E022")
    def TRACE_LOGS(self, value: Any) -> tuple[str, ...]:
        """The trace logs that the monitor's pages search: absolute paths and glob patterns. Default: the file of TRACE_LOG."""
        if value is None:
            return () if self.TRACE_LOG in (None, "-") else (str(self.TRACE_LOG),)
        hint = "absolute paths and patterns, as in ['/var/log/trace/*.log']"
        if not isinstance(value, list | tuple):
            raise SettingError(f"TRACE_LOGS is {value!r}, not a list.", f"Use a list of {hint}.")
        return tuple(as_path(item, "An entry of TRACE_LOGS", hint) for item in value)

    @setting("E011")
    def SAMPLE_RATE(self, value: Any) -> float:
        """The share of new traces that are sampled, 0.0 to 1.0. Default: 1.0."""
        if value is None:
            return 1.0
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise SettingError(f"SAMPLE_RATE is {value!r}.", "Use a number from 0 (none) to 1 (all).")
        return float(value)

    @setting("E012")
    def TRUST_INCOMING(self, value: Any) -> bool:
        """False starts a new trace for every request, whatever headers it brings: for a service at the edge. Default: True."""
        return as_boolean(value, "TRUST_INCOMING", True)

    @setting("E013")
    def PROPAGATE_TO(self, value: Any) -> tuple[str, ...] | None:
        """Host names that calls may carry trace headers to; ".example.com" includes subdomains. Default (None): all hosts."""
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(isinstance(host, str) and host for host in value):
            raise SettingError(f"PROPAGATE_TO is {value!r}.", "Use a list of host names such as ['.example.com'].")
        return tuple(host.lower() for host in value)

    @setting("E014")
    def INFLUXDB(self, value: Any) -> InfluxDB | None:
        """Where collect_metrics writes points: {"URL", "TOKEN", "ORG", "BUCKET", "TIMEOUT"}. Default: nowhere."""
        return as_influxdb(value)

    @setting("E023")
    def OUTBOX(self, value: Any) -> Outbox:
        """How much may wait for InfluxDB, the oldest dropped first: {"MEGABYTES", "DAYS"}. Default: 1,000 and 7."""
        return as_outbox(value)

    @setting("E030")
    def SLOW_SECONDS(self, value: Any) -> float:
        """A request that takes longer keeps its request span, exception and logs, sampled or not. Default: 1.0."""
        if value is None:
            return 1.0
        if type(value) not in (int, float) or not value > 0:
            raise SettingError(f"SLOW_SECONDS is {value!r}.", "Use a number of seconds above 0.")
        return float(value)

    @setting("E031")
    def CAPTURE_SQL(self, value: Any) -> bool:
        """False keeps the text of queries, which has placeholders for its parameters, out of their spans. Default: True."""
        return as_boolean(value, "CAPTURE_SQL", True)

    @setting("E032")
    def CAPTURE_LOGS(self, value: Any) -> str | None:
        """The name of the level from which on log records are kept as events of spans; False: none. Default: "WARNING"."""
        if value is None:
            return "WARNING"
        if value is False:
            return None
        if not isinstance(value, str) or type(logging.getLevelName(value)) is not int:
            raise SettingError(f"CAPTURE_LOGS is {value!r}.", "Use the name of a level such as 'WARNING', or False.")
        return value

    @setting("E033")
    def EXPORTERS(self, value: Any) -> tuple[ExporterSetting, ...]:
        """Where finished spans go: [{"BACKEND": dotted path of a class, "OPTIONS": its keyword arguments}]. Default: nowhere."""
        return as_exporters(value)

    @setting("E017")
    def RETENTION(self, value: Any) -> Retention:
        """For how many days polls, and their sums over ten minutes, hours and days are kept. Default: 2, 14, 90, 800."""
        return as_retention(value)

    @setting("E018")
    def DATABASE(self, value: Any) -> str | None:
        """The alias in DATABASES that holds registry and history, through monitoring.router. Default: none, Django's own."""
        if value is None:
            return None
        aliases = list(getattr(django_settings, "DATABASES", {}))
        if value not in aliases:
            raise SettingError(f"DATABASE is {value!r}, and DATABASES has {aliases}.", "Use one of these aliases.")
        return str(value)

    @setting("E040")
    def ALLOWED_TARGETS(self, value: Any) -> Targets:
        """What collect_metrics may connect to. Default: everything but link-local and cloud-metadata addresses."""
        hint = "Use a list of networks and host patterns such as ['10.0.0.0/8', '.shop.internal']."
        if value is None:
            return Targets()
        if not isinstance(value, list | tuple) or not value or not all(isinstance(entry, str) for entry in value):
            raise SettingError(f"ALLOWED_TARGETS is {value!r}.", hint)
        try:
            return Targets.parse(value)
        except TargetError as error:
            raise SettingError(f"ALLOWED_TARGETS: {error}.", hint) from None

    # What Django itself is told, as far as it matters here.

    def uses(self, middleware: str) -> bool:
        return middleware in django_settings.MIDDLEWARE

    @property
    def database_routers(self) -> list[Any]:
        return list(getattr(django_settings, "DATABASE_ROUTERS", []))

    @property
    def use_tz(self) -> bool:
        return bool(django_settings.USE_TZ)

    @property
    def debug(self) -> bool:
        return bool(django_settings.DEBUG)

    @property
    def project_dir(self) -> str:
        """The folder that tells one deployment from another on the same host: BASE_DIR, else the working directory."""
        return str(getattr(django_settings, "BASE_DIR", None) or os.getcwd())

    @property
    def django_crontab(self) -> Mapping[str, Any]:
        """What is set of django-crontab's own settings, as far as collect_crontab decides about it."""
        names = (
            "CRONJOBS",
            "CRONTAB_EXECUTABLE",
            "CRONTAB_PYTHON_EXECUTABLE",
            "CRONTAB_DJANGO_MANAGE_PATH",
            "CRONTAB_DJANGO_SETTINGS_MODULE",
        )
        return {name: getattr(django_settings, name) for name in names if getattr(django_settings, name, None)}


conf = Settings()


def problems() -> Iterator[Problem]:
    """What is wrong with the settings, in the order of their check ids."""
    raw = getattr(django_settings, "MONITORING", None)
    if raw is not None and not isinstance(raw, dict):
        hint = 'Use MONITORING = {"SERVICE_NAME": "..."}.'
        yield Problem("monitoring.E001", f"MONITORING is {type(raw).__name__}, not a dict.", hint)
        return
    declared = {name: item for name, item in vars(Settings).items() if isinstance(item, Setting)}
    for name in raw or {}:
        if name not in declared:
            close = difflib.get_close_matches(str(name).upper(), declared, n=1)
            yield Problem(
                "monitoring.W001",
                f"MONITORING has the unknown setting {name!r}.",
                f"Did you mean {close[0]!r}?" if close else f"Known are {', '.join(declared)}.",
            )
    for name, item in declared.items():
        try:
            item.read(conf, (raw or {}).get(name))
        except SettingError as error:
            yield Problem(item.check_id, f"MONITORING: {error}", error.hint)
