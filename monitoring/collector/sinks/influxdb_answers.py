"""What an answer of InfluxDB means, or that there was none: what to do with the lines, and which setting to look at. No I/O.

Status codes: https://docs.influxdata.com/influxdb/v2/write-data/troubleshoot/; 201 is what clustered InfluxDB 3 answers where it
rejected some of the points.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from monitoring.collector.sinks.base import Failure, Fault
from monitoring.conf import InfluxDB

MAX_WAIT = 3600.0
"""Seconds: no server is left alone for longer, whatever it asks for."""

_MAX_QUOTED = 300  # characters of the server's own words in an error

# Whole messages of a 400 that is about the request, not about points. Messages quote points, so no part of one may decide.
_ABOUT_THE_BUCKET = re.compile(
    r"(please provide either orgid or org"
    r"|(failed to decode request query parameters: )?(bucket|org|organization|database|db)( name)?"
    r"( \"[^\"]{0,100}\")? (is )?(required|not found|missing|invalid))\.?",
    re.IGNORECASE,
)


class Answers:
    """The answers of one InfluxDB."""

    def __init__(self, target: InfluxDB) -> None:
        self._target = target
        self.server = _without_credentials(target.url)
        org = f"{target.org}/" if target.org else ""
        self.address = f"{self.server}{_path(target.url)} {org}{target.bucket}"

    def accepted(self, status: int, body: str) -> Failure | None:
        """What is wrong with a success."""
        if _is_html(body):  # a login page or a single-page application answers 200 to everything
            return Failure(
                Fault.SETTING, f"{self.server} answered with a web page, so it is not InfluxDB: check INFLUXDB['URL']."
            )
        if status == 201 and body.strip():
            return self._about_points(status, body)
        return None

    def refused(self, status: int, headers: Mapping[str, str], body: str, reason: object = None) -> Failure:
        """What an answer that is no success means; status 0 is TLS that failed for this reason."""
        html = _is_html(body)
        words = "" if html else self._quote(_message(body))
        said = f": {words.rstrip('.')}." if words else "."
        answered = f"InfluxDB at {self.server} answered {status}"
        bucket = (
            f"INFLUXDB['BUCKET'] ({self._target.bucket!r}) and INFLUXDB['ORG'] ({self._target.org!r}): both must exist there."
        )
        if not status:
            return Failure(
                Fault.SETTING,
                f"InfluxDB at {self.server} cannot be talked to over TLS ({self._quote(reason)}):"
                " check the certificate, and whether INFLUXDB['URL'] should start with http://.",
            )
        if status == 413:
            return Failure(Fault.SIZE, f"{answered}{said} The request is too large for it, or for a proxy before it.", words)
        if status in (429, 503):
            wait = _retry_after(headers)
            later = "" if wait is None else f" It asks to wait {wait:g} s."
            why = "A proxy says so. " if html else ""
            return Failure(Fault.UNREACHABLE, f"{answered}{said} {why}It is overloaded or starting.{later}", retry_after=wait)
        if html and status >= 500:
            return Failure(
                Fault.UNREACHABLE,
                f"{answered} with a web page: a proxy stands before InfluxDB and does not reach it. Is InfluxDB running?",
            )
        if html:
            return Failure(
                Fault.SETTING, f"{answered} with a web page: a proxy or another service is there. Check INFLUXDB['URL']."
            )
        if status in (401, 403):
            return Failure(Fault.SETTING, answered + said + self._about_token(status))
        if status == 404 and re.search("bucket|organi[sz]ation|database|retention", words, re.IGNORECASE):
            return Failure(Fault.SETTING, f"{answered}{said} Check {bucket}")
        if 300 <= status < 400:
            location = self._quote(headers.get("Location", "another address"))
            return Failure(
                Fault.SETTING, f"{answered}, a redirect to {location}: set INFLUXDB['URL'] to where InfluxDB itself answers."
            )
        if status in (404, 405):
            return Failure(
                Fault.SETTING, f"{answered}{said} No InfluxDB is there: check INFLUXDB['URL'] (its host, port and path)."
            )
        if status in (400, 422):
            if _ABOUT_THE_BUCKET.fullmatch(words):
                return Failure(Fault.SETTING, f"{answered}{said} Check {bucket}")
            return self._about_points(status, body)
        return Failure(Fault.UNREACHABLE, f"{answered}{said} See the log of InfluxDB.")

    def not_reached(self, error: Exception) -> Failure:
        """What it means that there was no answer, or none that can be read."""
        from urllib3.exceptions import ConnectTimeoutError, IncompleteRead, NewConnectionError, ReadTimeoutError

        from monitoring.collector.connections import UnknownHostError
        from monitoring.collector.transport import TrustError, causes

        if isinstance(error, UnknownHostError):
            return Failure(Fault.UNREACHABLE, f"The host of InfluxDB at {self.server} is not known: check INFLUXDB['URL'].")
        if isinstance(error, TrustError):
            return Failure(
                Fault.SETTING,
                f"The certificate authorities cannot be read ({self._quote(error)}): check REQUESTS_CA_BUNDLE and SSL_CERT_FILE.",
            )
        if isinstance(error, NewConnectionError):
            reason = self._quote(error).rpartition("connection: ")[2].rpartition("): ")[2]
            return Failure(
                Fault.UNREACHABLE,
                f"InfluxDB at {self.server} cannot be reached ({reason}): is it running, and INFLUXDB['URL'] right?",
            )
        chain = tuple(causes(error))
        if any(isinstance(one, ConnectTimeoutError | ReadTimeoutError | TimeoutError) for one in chain):
            fault = Fault.UNREACHABLE if isinstance(error, ConnectTimeoutError) else Fault.SLOW
            return Failure(
                fault,
                f"InfluxDB at {self.server} did not answer within {self._target.timeout:g} seconds:"
                " is it up, and INFLUXDB['URL'] right? Where it is only slow, set INFLUXDB['TIMEOUT'].",
            )
        if any(isinstance(one, ConnectionError | IncompleteRead) for one in chain):
            return Failure(
                Fault.UNREACHABLE,
                f"InfluxDB at {self.server} ended the connection ({self._quote(error)}): see its log, and that of a proxy.",
            )
        return Failure(
            Fault.SETTING, f"{self.server} does not talk as InfluxDB does ({self._quote(error)}): check INFLUXDB['URL']."
        )

    def _about_points(self, status: int, body: str) -> Failure:
        words = self._quote(_message(body))
        said = f": {words.rstrip('.')}." if words else "."
        return Failure(
            Fault.POINTS,
            f"InfluxDB at {self.server} answered {status}, so it refused points{said}",
            words or f"answered {status}",
        )

    def _about_token(self, status: int) -> str:
        if not self._target.token:
            return " It wants a token: set INFLUXDB['TOKEN']."
        if status == 401:
            return " It does not know the token: check INFLUXDB['TOKEN']."
        return f" INFLUXDB['TOKEN'] may not write to bucket {self._target.bucket!r}: give it write permission."

    def _quote(self, text: object) -> str:
        """The words of somebody else on one line, bounded, and without the token."""
        words = " ".join("".join(char if char.isprintable() else " " for char in str(text)[:5000]).split())
        if self._target.token:
            words = words.replace(self._target.token, "***")
        return words if len(words) <= _MAX_QUOTED else words[: _MAX_QUOTED - 1] + "…"


def _without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    except ValueError:
        return "INFLUXDB['URL']"


def _path(url: str) -> str:
    try:
        return urlsplit(url).path.rstrip("/")
    except ValueError:
        return ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """RFC 9110, section 10.2.3: seconds, or a date."""
    value = str(next((value for name, value in headers.items() if name.lower() == "retry-after"), "")).strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:10]), MAX_WAIT)
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    return min(max(0.0, round((at - datetime.now(timezone.utc)).total_seconds())), MAX_WAIT)


def _is_html(body: str) -> bool:
    return body.lstrip().startswith("<")


def _message(body: str) -> str:
    """The server's own words: `message` in InfluxDB 2's answers, `error` in those of 1 and 3, else the text itself."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return body
    return str(answer.get("message") or answer.get("error") or body) if isinstance(answer, dict) else body
