"""Settings that are more than one value: what they are read into, and what is wrong with them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from monitoring.declaring import SettingError


@dataclass(frozen=True)
class Retention:
    """For how many days the history is kept, at each resolution."""

    polls: int = 2
    ten_minutes: int = 14
    hours: int = 90
    days: int = 800


@dataclass(frozen=True)
class InfluxDB:
    """Where points are written to. `token` may be empty for a server without authentication."""

    url: str
    token: str = field(repr=False)
    org: str
    bucket: str
    timeout: float = 2.5
    """Seconds that one request may take."""


@dataclass(frozen=True)
class Outbox:
    """How much may wait for InfluxDB: the oldest is dropped first."""

    megabytes: int = 1000
    """Of points, compressed."""
    days: int = 7


@dataclass(frozen=True)
class ExporterSetting:
    """Where finished spans go: the dotted path of a class, and the keyword arguments it is called with."""

    backend: str
    options: Mapping[str, Any] = field(default_factory=dict)


def as_influxdb(value: Any) -> InfluxDB | None:
    hint = 'Use {"URL": "http://localhost:8086", "TOKEN": "...", "ORG": "...", "BUCKET": "..."}.'
    if value is None:
        return None
    if not isinstance(value, dict):
        raise SettingError("INFLUXDB is not a dict.", hint)
    unknown = sorted(set(map(str, value)) - {"URL", "TOKEN", "ORG", "BUCKET", "TIMEOUT"})
    if unknown:
        raise SettingError(f"INFLUXDB has the unknown key {unknown[0]!r}.", hint)
    parts = {name: value.get(name) or "" for name in ("URL", "TOKEN", "ORG", "BUCKET")}
    for name, part in parts.items():
        if not isinstance(part, str):
            raise SettingError(f"INFLUXDB[{name!r}] is not a string.", hint)
    if not parts["URL"]:
        return None
    if not re.match(r"https?://[^/\s]+", parts["URL"]):
        raise SettingError("INFLUXDB['URL'] is not an http or https address.", hint)
    if not parts["BUCKET"]:
        raise SettingError("INFLUXDB has a URL but no BUCKET.", hint)
    timeout = value.get("TIMEOUT", InfluxDB.timeout)
    if type(timeout) not in (int, float) or not 0 < timeout <= 300:
        raise SettingError(f"INFLUXDB['TIMEOUT'] is {timeout!r}.", "Use a number of seconds above 0 and up to 300.")
    return InfluxDB(parts["URL"], parts["TOKEN"], parts["ORG"], parts["BUCKET"], float(timeout))


def as_outbox(value: Any) -> Outbox:
    hint = 'Use {"MEGABYTES": 1000, "DAYS": 7}, whole numbers from 1 on.'
    if value is None:
        return Outbox()
    if not isinstance(value, dict):
        raise SettingError("OUTBOX is not a dict.", hint)
    unknown = sorted(set(map(str, value)) - {"MEGABYTES", "DAYS"})
    if unknown:
        raise SettingError(f"OUTBOX has the unknown key {unknown[0]!r}.", hint)
    for name, number in value.items():
        if type(number) is not int or not 1 <= number <= 1_000_000:
            raise SettingError(f"OUTBOX[{name!r}] is {number!r}.", hint)
    return Outbox(value.get("MEGABYTES", Outbox.megabytes), value.get("DAYS", Outbox.days))


def as_exporters(value: Any) -> tuple[ExporterSetting, ...]:
    hint = 'Use [{"BACKEND": "monitoring.instrument.exporters.FileExporter", "OPTIONS": {"path": "/var/log/shop/spans.jsonl"}}].'
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise SettingError("EXPORTERS is not a list.", hint)
    exporters = []
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("BACKEND"), str):
            raise SettingError("EXPORTERS holds something that is not a dict with a BACKEND.", hint)
        options = item.get("OPTIONS", {})
        if set(item) - {"BACKEND", "OPTIONS"} or not isinstance(options, dict) or not all(isinstance(k, str) for k in options):
            raise SettingError(f"EXPORTERS: {item['BACKEND']} has other keys than BACKEND and OPTIONS, a dict.", hint)
        exporters.append(ExporterSetting(item["BACKEND"], options))
    return tuple(exporters)


def as_retention(value: Any) -> Retention:
    if value is None:
        return Retention()
    names = [field.name for field in fields(Retention)]
    hint = 'Use whole numbers of days, each at least the one before: {"polls": 2, "ten_minutes": 14, "hours": 90, "days": 800}.'
    if not isinstance(value, dict):
        raise SettingError("RETENTION is not a dict.", hint)
    for name, days in value.items():
        if name not in names:
            raise SettingError(f"RETENTION has the unknown key {name!r}.", hint)
        if type(days) is not int or not 1 <= days <= 36_500:
            raise SettingError(f"RETENTION[{name!r}] is {days!r}.", hint)
    found = Retention(**value)
    for finer, coarser in itertools.pairwise(names):
        if getattr(found, finer) > getattr(found, coarser):
            raise SettingError(f"RETENTION keeps {finer} longer than {coarser}.", hint)
    return found
