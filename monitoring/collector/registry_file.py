"""Files that list services, read: YAML of ours, and the Gin exporter's config.json. No database in here.

Ours (docs/import.md); `name` and an address are needed, and only what is stated is changed::

    services:
      - name: shop
        schedule: "*/5 * * * *"       # in quotes: YAML reads a bare * as something else
        time_zone: Europe/Berlin      # of the schedule; the project's otherwise
        enabled: true
        timeout: 10                   # seconds
        token: s3cret                 # or token_env: SHOP_TOKEN, to read it from the environment
        duration_unit: seconds        # or milliseconds
        urls:                         # or url: http://shop:8000/metrics
          - http://shop-1:8000/metrics
          - http://shop-2:8000/metrics

The Gin exporter's; entries of the same name are instances of one service, and `database` is not read::

    {"serverinfo": [{"url": "localhost", "port": 8080, "path": "/metrics", "name": "server1"}], "database": {}}
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from monitoring.collector.registry_text import FileRefusedError, kind, load
from monitoring.models import DurationUnit

_SERVICE_KEYS = ("name", "schedule", "time_zone", "enabled", "timeout", "token", "token_env", "duration_unit", "url", "urls")
_GIN_KEYS = ("name", "url", "port", "path")
_DURATION_UNITS = {"seconds": DurationUnit.SECONDS, "milliseconds": DurationUnit.MILLISECONDS}


@dataclass(frozen=True, slots=True)
class ListedService:
    """What a file states of a service."""

    where: str
    """Where in the file it stands: `services[2] (shop)`."""
    name: str
    values: dict[str, Any] = field(default_factory=dict)
    """By the name of the model's field; only what is stated."""
    urls: list[tuple[str, str]] | None = None
    """Where each stands in the file, and the address; None where the file states none."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a file states, what is wrong with it, and what was not read of it."""

    services: list[ListedService] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(content: bytes, environ: Mapping[str, str]) -> Listing:
    """The services that a file of either kind lists. Raises FileRefusedError where it is not such a file at all."""
    root = load(content)
    if not isinstance(root, dict) or not {"services", "serverinfo"} & root.keys():
        close = [key for key in map(str, root or ()) if difflib.get_close_matches(key, ("services", "serverinfo"))]
        raise FileRefusedError(
            'The file lists no services: it starts with "services:", or is the Gin exporter\'s config.json, with "serverinfo".'
            + (f" Was {close[0][:100]!r} meant as one of these?" if close and isinstance(root, dict) else "")
        )
    key = "services" if "services" in root else "serverinfo"
    if not isinstance(root[key], list) or not root[key]:
        raise FileRefusedError(f"{key} is {kind(root[key])}, not a list with a service in it.")
    listing = Listing()
    others = [str(other)[:100] for other in root if other != key]
    if key == "services":
        listing.problems.extend(_unknown("the file", others, (key,)))
        _read_ours(root[key], environ, listing)
    else:
        if others:
            listing.notes.append(f'{", ".join(others)} was not read: where points go is the setting MONITORING["INFLUXDB"].')
        _read_gin(root[key], listing)
    return listing


def _entries(key: str, values: list[Any], known: Collection[str], problems: list[str]) -> Iterator[_Entry]:
    """The list's mappings, each with its place in the list; what is none, or has unknown keys, is a problem."""
    for number, value in enumerate(values):
        where = f"{key}[{number}]"
        if not isinstance(value, dict):
            problems.append(f"{where} is {kind(value)}, not a mapping with a name.")
            continue
        name = value.get("name")
        if isinstance(name, str) and name.isprintable():
            where += f" ({name.strip()[:100]})"
        problems.extend(_unknown(where, map(str, value), known))
        yield _Entry(where, value, problems)


def _unknown(where: str, keys: Iterable[str], known: Collection[str]) -> Iterator[str]:
    for key in keys:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known are {', '.join(known)}."
            yield f"{where}: unknown key {key[:100]!r}. {hint}"


class _Entry:
    """One mapping of the file; what is wrong with its values is collected."""

    def __init__(self, where: str, values: dict[Any, Any], problems: list[str]) -> None:
        self.where = where
        self.values = values
        self.problems = problems

    def wrong(self, key: str, what: str) -> None:
        self.problems.append(f"{self.where}: {key}: {what}")

    def get(self, key: str, kinds: Collection[type], expected: str) -> Any:
        """The value, or None where there is none or it is not of these types."""
        if key not in self.values:
            return None
        value = self.values[key]
        if type(value) in kinds:
            return value
        self.wrong(key, f"is {kind(value)}, not {expected}.")
        return None

    def name(self) -> str:
        """The service's name; empty where it has none that can be used."""
        if "name" not in self.values:
            self.wrong("name", "is missing.")
        name = str(self.get("name", {str}, 'a string: write it in quotes, as in "shop"') or "").strip()
        if not name and isinstance(self.values.get("name"), str):
            self.wrong("name", "is empty.")
        if not name.isprintable():
            self.wrong("name", "holds a line break or another control character.")
        return name


def _read_ours(entries: list[Any], environ: Mapping[str, str], listing: Listing) -> None:
    seen: dict[str, str] = {}
    for entry in _entries("services", entries, _SERVICE_KEYS, listing.problems):
        name, urls = entry.name(), _urls(entry)
        if name in seen:
            entry.wrong("name", f"stands already in {seen[name]}. Put all of its URLs there.")
        elif name:
            seen[name] = entry.where
        stated = {
            "schedule": entry.get("schedule", {str}, 'a crontab schedule in quotes, as in "*/5 * * * *"'),
            "time_zone": entry.get("time_zone", {str}, "the name of a time zone, as in Europe/Berlin"),
            "enabled": entry.get("enabled", {bool}, "true or false"),
            "timeout": _timeout(entry),
            "token": _token(entry, environ),
            "duration_unit": _duration_unit(entry),
        }
        stated = {key: value for key, value in stated.items() if value is not None}
        if name:
            listing.services.append(ListedService(entry.where, name, stated, urls))


def _token(entry: _Entry, environ: Mapping[str, str]) -> str | None:
    token: str | None = entry.get("token", {str}, "a string: write it in quotes")
    variable = entry.get("token_env", {str}, "the name of an environment variable")
    if variable is None:
        return token
    if "token" in entry.values:
        entry.wrong("token_env", "stands beside token: keep one of the two.")
    if not variable.isprintable() or not environ.get(variable):
        entry.wrong("token_env", f"the environment variable {variable[:100]!r} is not set: set it where this command runs.")
        return None
    return environ[variable]


def _duration_unit(entry: _Entry) -> str | None:
    unit = entry.get("duration_unit", {str}, "seconds or milliseconds")
    if unit is not None and unit not in _DURATION_UNITS:
        entry.wrong("duration_unit", f"is {unit[:100]!r}: write seconds or milliseconds.")
    return _DURATION_UNITS.get(unit)


def _timeout(entry: _Entry) -> float | None:
    timeout: float | None = entry.get("timeout", {int, float}, "a number of seconds")
    if timeout is None or abs(timeout) < 1e9:
        return timeout
    entry.wrong("timeout", "is not a number of seconds such as 10.")  # NaN, which the model's validators let through
    return None


def _urls(entry: _Entry) -> list[tuple[str, str]] | None:
    if not {"url", "urls"} & entry.values.keys():
        return None
    if "url" not in entry.values:
        listed = entry.get("urls", {list}, "a list; a single address is called url")
        if listed == []:
            entry.wrong("urls", "is an empty list: name an address, or leave the key out.")
        return _distinct(entry, [(f"urls[{number}]", url) for number, url in enumerate(listed or ())])
    if "urls" in entry.values:
        entry.wrong("url", "stands beside urls: put all of them into urls.")
    one = entry.get("url", {str}, "a string; a list of addresses is called urls")
    return [] if one is None else [(f"{entry.where}: url", one)]


def _distinct(entry: _Entry, listed: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for key, url in listed:
        if not isinstance(url, str):
            entry.wrong(key, f"is {kind(url)}, not a string.")
        elif url in found:
            entry.wrong(key, "stands there twice.")
        else:
            found[url] = f"{entry.where}: {key}"
    return [(where, url) for url, where in found.items()]


def _read_gin(entries: list[Any], listing: Listing) -> None:
    services: dict[str, dict[str, str]] = {}
    first: dict[str, str] = {}
    for entry in _entries("serverinfo", entries, _GIN_KEYS, listing.problems):
        name, url = entry.name(), _gin_url(entry)
        if not name or not url:
            continue
        instances = services.setdefault(name, {})
        first.setdefault(name, entry.where)
        if url in instances:
            entry.wrong("url", f"{url} stands there twice for this name.")
        instances[url] = f"{entry.where}: url"
    for name, instances in services.items():
        listing.services.append(ListedService(first[name], name, {}, [(where, url) for url, where in instances.items()]))


def _gin_url(entry: _Entry) -> str | None:
    """The address from its parts; None where it has none."""
    if "url" not in entry.values:
        entry.wrong("url", "is missing. Write a host such as localhost, or http://localhost.")
    host = entry.get("url", {str}, "a host such as localhost, or http://localhost")
    port = entry.get("port", {int, str}, "a port such as 8080")
    path = entry.get("path", {str}, "a path such as /metrics")
    if host is None:
        return None
    scheme, separator, rest = host.strip().partition("://")
    authority = (rest if separator else scheme).rstrip("/")
    if not authority:
        entry.wrong("url", "names no host.")
        return None
    if "/" in authority or "?" in authority:
        entry.wrong("url", "holds a path: that goes into path.")
        return None
    if authority.count(":") > 1 and not authority.startswith("["):
        authority = f"[{authority}]"
    try:
        own_port = urlsplit(f"//{authority}").port
    except ValueError as error:
        entry.wrong("url", f"is no host ({error}).")
        return None
    if port in (None, "", 0):
        port = own_port
    elif own_port is not None and str(port) != str(own_port):
        entry.wrong("port", f"is {str(port)[:100]}, but url says {own_port}.")
    base = f"{scheme if separator else 'http'}://{authority}"
    if own_port is None and port is not None:
        base += f":{port}"
    return f"{base}/{(path or '/metrics').lstrip('/')}"
