"""Questions to a server that may be InfluxDB. Every request is a GET, so that nothing can be written or removed."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from urllib3 import exceptions as urllib3_errors

from monitoring.collector.connections import UnknownHostError
from monitoring.collector.transport import Session, TrustError, causes, read_body
from monitoring.conf import InfluxDB

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Bytes of an answer that are read. A hundred buckets have 100 kB."""

_MAX_QUOTED = 200  # characters of the server's own words in a finding


class NoAnswerError(Exception):
    """The server gave no answer that can be read; the message says why, and which setting to look at."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    body: bytes
    token: str = ""
    """What the answer's words must not hold."""

    @property
    def is_html(self) -> bool:
        return self.body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") or "html" in self.headers.get("Content-Type", "")

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is none."""
        value = self.value
        return value if isinstance(value, dict) else {}

    @property
    def value(self) -> Any:
        """The body as JSON; None where it is none, or was longer than MAX_BODY_BYTES."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def words(self) -> str:
        """What the server says itself: `message` in the answers of InfluxDB 2, `error` in those of 1 and 3, else the body."""
        if self.is_html:
            return ""
        said = self.document.get("message") or self.document.get("error")
        text = said if isinstance(said, str) else self.body[:1000].decode("utf-8", "replace")
        line = " ".join((text.replace(self.token, "[token]") if self.token else text).split())  # before it is cut
        return line if len(line) <= _MAX_QUOTED else f"{line[: _MAX_QUOTED - 1]}…"

    @property
    def summary(self) -> str:
        """For use within a sentence: "it answered 403 (forbidden)"."""
        said = self.words.rstrip(".")
        return f"it answered {self.status}" + (" with a web page" if self.is_html else f" ({said})" if said else "")


class Server:
    """Where INFLUXDB['URL'] points to. All that it is asked has to be answered within `timeout` seconds from now."""

    def __init__(self, target: InfluxDB, timeout: float, session: Session) -> None:
        self.target = target
        self._timeout, self._session = timeout, session
        self._deadline = time.monotonic() + timeout
        try:
            parts = urlsplit(target.url)
            parts.port  # noqa: B018 (raises ValueError where it is none)
        except ValueError:
            parts = SplitResult("", "", "", "", "")
        self.parts = parts
        self.root = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        """The address without path, user name and password."""
        self.path = parts.path.rstrip("/")
        self.address = self.root + self.path
        """What may be shown."""

    def get(self, path: str, parameters: Mapping[str, str] | None = None, *, with_token: bool = True) -> Answer:
        """Ask for a path below INFLUXDB['URL']. Raises NoAnswerError."""
        headers = {"Accept": "application/json", "User-Agent": "django-fleet-monitoring"}
        if with_token and self.target.token:
            headers["Authorization"] = f"Token {self.target.token}"
        query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
        remaining = self._deadline - time.monotonic()
        try:
            if remaining <= 0:
                raise TimeoutError
            with contextlib.closing(self._session.get(f"{self.address}{path}{query}", headers, remaining)) as response:
                body, _whole = read_body(response, MAX_BODY_BYTES)
                return Answer(response.status, response.headers, bytes(body), self.target.token)
        except Exception as error:  # noqa: BLE001 (whatever a server does is a finding about it)
            raise NoAnswerError(self._explain(error)) from None

    def _explain(self, error: Exception) -> str:
        chain = list(causes(error))

        def first(*kinds: type[BaseException]) -> BaseException | None:
            return next((one for one in chain if isinstance(one, kinds)), None)

        at = f"at {self.address}"
        if isinstance(error, TrustError):
            return f"The certificate authorities cannot be read ({error}): set REQUESTS_CA_BUNDLE to a file that is there."
        if first(UnknownHostError, UnicodeError, urllib3_errors.LocationValueError):
            return f"The host of {self.address} is not known: check the host name in INFLUXDB['URL']."
        if untrusted := first(ssl.SSLCertVerificationError):
            reason = getattr(untrusted, "verify_message", "") or str(untrusted)
            own = "REQUESTS_CA_BUNDLE names the file of an authority of your own"
            return f"The TLS certificate {at} is not accepted: {reason}. {own}."
        if broken := first(ssl.SSLError):
            reason = getattr(broken, "reason", None) or str(broken)
            plain = re.sub("^https", "http", self.address, flags=re.IGNORECASE)
            return f"TLS fails {at} ({reason}): if no TLS is spoken there, set INFLUXDB['URL'] to {plain!r}."
        if first(ConnectionRefusedError):
            return f"The connection to {self.address} is refused: is InfluxDB running, and the port in INFLUXDB['URL'] right?"
        if first(urllib3_errors.ConnectTimeoutError):
            return (
                f"No connection to {self.address} within {self._timeout:g} s: is the host up, does the network let this machine"
                " through, and is INFLUXDB['URL'] right?"
            )
        if first(TimeoutError, urllib3_errors.TimeoutError):
            return f"No whole answer from {self.address} within {self._timeout:g} s: is InfluxDB well, and INFLUXDB['URL'] right?"
        if first(urllib3_errors.IncompleteRead, http.client.IncompleteRead, urllib3_errors.DecodeError):
            return f"The answer from {self.address} breaks off or cannot be read: see the log of InfluxDB or of a proxy."
        if first(ConnectionResetError, ConnectionAbortedError, BrokenPipeError):
            return f"{self.address} ended the connection unanswered: check port and scheme (http, https) of INFLUXDB['URL']."
        if first(http.client.HTTPException, urllib3_errors.ProtocolError, urllib3_errors.HeaderParsingError):
            return f"What answers at {self.address} is not HTTP: check port and scheme (http, https) of INFLUXDB['URL']."
        failed = first(OSError)
        reason = getattr(failed, "strerror", None) or type(error).__name__
        return f"{self.address} cannot be reached ({reason}): check INFLUXDB['URL']."
