"""Which server stands at INFLUXDB['URL'], told by what it says of itself."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from monitoring.collector.influxdb_check.asking import Answer, Server


class Kind(Enum):
    """The API that tells about tokens and buckets."""

    V1 = auto()
    V2 = auto()
    V3 = auto()
    VICTORIA_METRICS = auto()
    LOCKED = auto()
    """It says nothing without a token that it likes."""


class Identity(NamedTuple):
    kind: Kind
    name: str
    """With the version where it is known."""
    version: tuple[int, int] = (0, 0)


_PROBES: tuple[tuple[str, dict[str, str]], ...] = (("/ping", {}), ("/health", {}), ("/api/v2/buckets", {"limit": "1"}))


class WrongAddressError(Exception):
    """Nothing that takes points answers there; the message says what does, and what to change."""


def identify(server: Server) -> Identity:
    """Raises WrongAddressError, and NoAnswerError.

    `/ping` is answered by InfluxDB 1, 2.0.3 and later, 3 (with a valid token), InfluxDB Cloud and VictoriaMetrics, `/health` by
    the others that are older. Where neither tells, the API of InfluxDB 2 may be all that a proxy lets through.
    """
    _refuse_url(server)
    answers: list[Answer] = []
    for path, parameters in _PROBES:
        answer = server.get(path, parameters)
        _refuse_answer(answer, server, path)
        found = _named(answer, path)
        if found and ((answer.status in (200, 204) and not answer.is_html) or answer.status in (401, 403)):
            return found
        if found and found.kind is Kind.VICTORIA_METRICS:
            return found  # below /influx it answers neither; its own check tries the path
        if found and server.path and answer.status < 500:
            raise WrongAddressError(
                f"{found.name} is at {server.root}, but not under {server.path!r}: set INFLUXDB['URL'] to {server.root!r}."
            )
        answers.append(answer)
    return _unnamed(answers, server)


def _refuse_url(server: Server) -> None:
    if not server.parts.hostname:
        raise WrongAddressError("INFLUXDB['URL'] is no address: use one such as 'http://localhost:8086'.")
    if server.parts.query or server.parts.fragment:
        raise WrongAddressError(f"INFLUXDB['URL'] holds a '?' or '#': use the address alone, {server.address!r}.")


def _refuse_answer(answer: Answer, server: Server, path: str) -> None:
    """What no InfluxDB says, whatever is asked."""
    if 300 <= answer.status < 400:
        location = answer.headers.get("Location", "")
        raise WrongAddressError(
            f"{server.address} redirects ({answer.status}){_to(location, server, path)}: set INFLUXDB['URL'] to where InfluxDB"
            " itself answers; points are not sent after a redirect."
        )
    if answer.status == 400 and server.parts.scheme.lower() == "http" and re.search(rb"HTTPS (server|port)", answer.body[:2000]):
        secure = "https" + server.address[4:]
        raise WrongAddressError(f"{server.address} speaks TLS only: set INFLUXDB['URL'] to {secure!r}.")


def _to(location: str, server: Server, path: str) -> str:
    """Where a redirect leads, without what was asked for and what may be secret in it."""
    try:
        parts = urlsplit(urljoin(server.address + "/", location))
    except ValueError:
        return ""
    return f" to {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.removesuffix(path)[:100]}" if location else ""


def _named(answer: Answer, path: str) -> Identity | None:
    """The server as this answer names it, if it does."""
    headers, document = answer.headers, answer.document
    victoria_metrics = "X-Server-Hostname" in headers or b"unsupported path requested" in answer.body[:2000]
    if victoria_metrics:  # some of its answers have InfluxDB's header too
        return Identity(Kind.VICTORIA_METRICS, "VictoriaMetrics")
    version = headers.get("X-Influxdb-Version", "")
    build = headers.get("X-Influxdb-Build", "")
    name = "InfluxDB"
    if isinstance(document.get("product_name"), str):  # 3: "InfluxDB 3 Core"
        name = document["product_name"][:40]
        version = str(document.get("version", version))
    elif path == "/health" and document.get("name") == "influxdb":
        version = version or str(document.get("version", ""))
    elif "cloud" in build.lower():
        name = "InfluxDB Cloud"
    elif "cluster-uuid" in headers:
        return Identity(Kind.V3, "InfluxDB 3", (3, 0))
    elif not version and not build:
        buckets = path == "/api/v2/buckets" and (isinstance(document.get("buckets"), list) or "code" in document)
        return Identity(Kind.V2, "InfluxDB 2") if buckets else None
    number = re.match(r"v?(\d+)\.(\d+)", version)
    if number is None:  # a development build, or Cloud, which has no version
        return Identity(Kind.V2, f"{name} {version[:30]}".rstrip(), (2, 0))
    major, minor = int(number[1]), int(number[2])
    kind = Kind.V1 if major < 2 else Kind.V2 if major == 2 else Kind.V3
    return Identity(kind, f"{name} {version[:30].removeprefix('v')}", (major, minor))


def _unnamed(answers: list[Answer], server: Server) -> Identity:
    at = server.address
    if all(answer.status in (401, 403) for answer in answers):
        return Identity(Kind.LOCKED, "A server")
    broken = next((answer for answer in answers if answer.status >= 500), None)
    if broken is not None:
        raise WrongAddressError(f"{at}: {broken.summary}. Is InfluxDB running behind it? Its log, or the proxy's, tells why.")
    if any(answer.is_html for answer in answers):
        raise WrongAddressError(
            f"{at} answers with a web page: a proxy, a login page or another service is there. Check INFLUXDB['URL']."
        )
    raise WrongAddressError(f"No InfluxDB answers at {at}: {answers[0].summary}. Check host, port and path of INFLUXDB['URL'].")
