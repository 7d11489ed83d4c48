"""Whether the settings of InfluxDB are right: address, token, organisation and bucket, without writing or removing anything.

`check` asks the server and gives one finding for each. What a server does not show without writing is said to be so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from monitoring.collector.fetching import presentable
from monitoring.collector.influxdb_check import others, version2
from monitoring.collector.influxdb_check.asking import NoAnswerError, Server
from monitoring.collector.influxdb_check.findings import SETTINGS, Finding, Verdict, ok, unknown, wrong
from monitoring.collector.influxdb_check.identifying import Identity, Kind, WrongAddressError, identify
from monitoring.collector.transport import Session
from monitoring.conf import InfluxDB
from monitoring.targets import ANYWHERE

__all__ = ["TIMEOUT", "Finding", "Verdict", "check"]

TIMEOUT = 5.0
"""Seconds that the whole check may take."""

_RULES: dict[Kind, Callable[[Server, Identity], Iterator[Finding]]] = {
    Kind.V1: others.version1,
    Kind.V2: version2.findings,
    Kind.V3: others.version3,
    Kind.VICTORIA_METRICS: others.victoria_metrics,
    Kind.LOCKED: others.locked,
}


def check(target: InfluxDB, timeout: float = TIMEOUT, **session: Any) -> list[Finding]:
    """One finding for each of SETTINGS, in that order. Takes at most `timeout` seconds, and raises nothing.

    `session` goes to transport.Session: another resolver, say.
    """
    with Session(**{"targets": ANYWHERE, **session}) as connections:
        found, reason = _look(Server(target, timeout, connections))
    secrets = [target.token, *_credentials(target.url)]
    return [_shown(found.get(what) or unknown(what, reason), secrets) for what in SETTINGS]


def _look(server: Server) -> tuple[dict[str, Finding], str]:
    """What was found, and why the rest was not."""
    found: dict[str, Finding] = {}
    token = server.target.token
    if not token.isascii() or not token.isprintable() or " " in token:
        found["token"] = wrong(
            "token", "INFLUXDB['TOKEN'] holds a space, a line break or another character no token has: check what was pasted."
        )
        return found, "INFLUXDB['TOKEN'] cannot be sent."
    try:
        identity = identify(server)
        ignored = " (user name and password in INFLUXDB['URL'] are not sent)" if "@" in server.parts.netloc else ""
        found["address"] = ok("address", f"{identity.name} at {server.address}{ignored}")
        for finding in _RULES[identity.kind](server, identity):
            found[finding.what] = finding
    except WrongAddressError as error:
        found["address"] = wrong("address", str(error))
    except NoAnswerError as error:
        if "address" in found:
            return found, str(error)
        found["address"] = wrong("address", str(error))
    bad = next((what for what in SETTINGS if what in found and found[what].verdict is Verdict.WRONG), "")
    return found, f"the {bad} has to be right first." if bad else "the server does not show it."


def _credentials(url: str) -> list[str]:
    name_and_password = url.partition("://")[2].rpartition("@")[0]  # with a slash in the password it is no part of the host
    password = name_and_password.partition(":")[2]
    return [name_and_password, password, unquote(password)]


def _shown(finding: Finding, secrets: list[str]) -> Finding:
    text = finding.text
    for secret in secrets:
        text = presentable(text, secret)
    return Finding(finding.what, finding.verdict, text)
