"""InfluxDB as a sink: points in line protocol, through influxdb-client, in synchronous batches.

The client's own batching mode is not used: it writes from a thread and loses data silently when the process ends. Retries are
off, so that a failure is told at once. Anything that answers InfluxDB's `/api/v2/write` serves: InfluxDB 1.8, 2 and 3,
VictoriaMetrics.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from http.client import HTTPException
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from monitoring.collector import points
from monitoring.collector.sinks.base import PolledInstance, SinkError
from monitoring.conf import InfluxDB

if TYPE_CHECKING:
    from influxdb_client.client.influxdb_client import InfluxDBClient

BATCH_SIZE = 5000
"""Lines in one request: what InfluxDB's documentation recommends."""

TIMEOUT = 10.0
"""Seconds that one request may take."""

_MAX_QUOTED = 300  # characters of the server's own words in an error


class _Failure(NamedTuple):
    """Why a batch was not written. A value and not an exception: a traceback would keep the connection alive."""

    reason: str
    of_batch: bool
    """The server finds fault with points of this batch; others may do."""


class InfluxDBSink:
    """Writes to the bucket that MONITORING["INFLUXDB"] names. It holds no connection between two writes."""

    name = "InfluxDB"

    def __init__(self, target: InfluxDB, timeout: float = TIMEOUT, batch_size: int = BATCH_SIZE) -> None:
        self.target = target
        self.timeout = timeout
        self.batch_size = batch_size

    def write(self, polled: Sequence[PolledInstance]) -> None:
        """Write a round's points. Raises SinkError."""
        self.write_lines(chain.from_iterable(points.lines(one) for one in polled))

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write lines of points.PRECISION. Raises SinkError.

        A batch that the server finds fault with costs the others nothing; after any other failure the rest is not tried.
        """
        failure, written = self._send(iter(lines))
        if failure:
            raise SinkError(failure + (f" {written} other points were written." if written else ""))

    def _send(self, lines: Iterator[str]) -> tuple[str, int]:
        """The failure to tell of, empty where there is none, and how many lines were written."""
        batch = list(islice(lines, self.batch_size))
        if not batch:
            return "", 0
        written, reasons = 0, []
        with self._client() as client:
            while batch:
                failure = self._post(client, batch)
                if failure is None:
                    written += len(batch)
                else:
                    reasons.append(failure.reason)
                    if not failure.of_batch:
                        break
                batch = list(islice(lines, self.batch_size))
        return reasons[-1] if reasons else "", written

    def _client(self) -> InfluxDBClient:
        token = self.target.token
        if not token.isascii() or not token.isprintable() or " " in token:
            raise SinkError(
                "INFLUXDB['TOKEN'] holds a space, a line break or another character no token has: check what was pasted."
            )
        try:
            from influxdb_client.client.influxdb_client import InfluxDBClient  # 0.27 s and 38 MB
        except ImportError as error:
            raise SinkError(
                f"Writing to InfluxDB needs influxdb-client ({error}): pip install 'django-fleet-monitoring[monitor]'."
            ) from None
        timeout = round(self.timeout * 1000)
        return InfluxDBClient(url=self.target.url, token=token, org=self.target.org, timeout=timeout, retries=False)

    def _post(self, client: InfluxDBClient, batch: Sequence[str]) -> _Failure | None:
        from influxdb_client.client.exceptions import InfluxDBError
        from influxdb_client.client.write_api import SYNCHRONOUS
        from urllib3.exceptions import HTTPError

        api = client.write_api(write_options=SYNCHRONOUS)
        precision: Any = points.PRECISION  # the client annotates its strings as the class that lists them
        try:
            api.write(self.target.bucket, record="\n".join(batch), write_precision=precision)
        except InfluxDBError as error:
            return _Failure(self._why_refused(error), getattr(error, "status", None) in (400, 422))
        except (HTTPError, HTTPException, ValueError, OSError) as error:  # ValueError: an address or answer that cannot be read
            return _Failure(self._why_not_reached(error), False)
        if _is_html(client.api_client.last_response.data):  # a login page or a single-page application answers 200 to everything
            return _Failure(f"{self._server} answered with a web page, so it is not InfluxDB: check INFLUXDB['URL'].", False)
        return None

    @property
    def _server(self) -> str:
        """The server without what may be secret in its URL."""
        try:
            parts = urlsplit(self.target.url)
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        except ValueError:
            return "INFLUXDB['URL']"

    def _quote(self, text: object) -> str:
        """The words of somebody else on one line, bounded, and without the token."""
        words = " ".join("".join(char if char.isprintable() else " " for char in str(text)[:5000]).split())
        if self.target.token:
            words = words.replace(self.target.token, "***")
        return words if len(words) <= _MAX_QUOTED else words[: _MAX_QUOTED - 1] + "…"

    def _why_refused(self, error: Any) -> str:
        """What an answer that is not a success means, and which setting to look at."""
        status = getattr(error, "status", None) or 0
        headers = getattr(error, "headers", None) or {}
        body = str(getattr(error, "body", None) or "")
        html = _is_html(body)
        words = "" if html else self._quote(_message(body))
        said = f": {words.rstrip('.')}." if words else "."
        answered = f"InfluxDB at {self._server} answered {status}"
        if not status:
            return (
                f"InfluxDB at {self._server} cannot be talked to over TLS ({self._quote(getattr(error, 'reason', error))}):"
                " check the certificate, and whether INFLUXDB['URL'] should start with http://."
            )
        if status in (401, 403) and not html:
            if not self.target.token:
                return f"{answered}{said} It wants a token: set INFLUXDB['TOKEN']."
            if status == 401:
                return f"{answered}{said} It does not know the token: check INFLUXDB['TOKEN']."
            return f"{answered}{said} INFLUXDB['TOKEN'] may not write to bucket {self.target.bucket!r}: give it write permission."
        if status == 404 and re.search("bucket|organi[sz]ation|database|retention", words, re.IGNORECASE):
            setting = f"INFLUXDB['BUCKET'] ({self.target.bucket!r}) and INFLUXDB['ORG'] ({self.target.org!r})"
            return f"{answered}{said} Check {setting}: both must exist there."
        if 300 <= status < 400:
            location = self._quote(headers.get("Location", "another address"))
            return f"{answered}, a redirect to {location}: set INFLUXDB['URL'] to where InfluxDB itself answers."
        if status in (429, 503) and not html:
            wait = self._quote(headers.get("Retry-After", ""))
            later = f"; it asks to wait {wait} s" if wait.isdigit() else ""
            return f"{answered}{said} It is overloaded or starting{later}. What was not written is lost to it."
        if html and status >= 500:
            return f"{answered} with a web page: a proxy stands before InfluxDB and does not reach it. Is InfluxDB running?"
        if html:
            return f"{answered} with a web page: a proxy or another service is there. Check INFLUXDB['URL']."
        if status in (404, 405):
            return f"{answered}{said} No InfluxDB is there: check INFLUXDB['URL'] (its host, port and path)."
        if status in (400, 422):
            return f"{answered}, so it refused points{said}"
        return f"{answered}{said} See the log of InfluxDB."

    def _why_not_reached(self, error: Exception) -> str:
        from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ReadTimeoutError

        if isinstance(error, NameResolutionError):
            return f"The host of InfluxDB at {self._server} is not known: check INFLUXDB['URL']."
        if isinstance(error, ReadTimeoutError | ConnectTimeoutError) and not isinstance(error, NewConnectionError):
            return (
                f"InfluxDB at {self._server} did not answer within {self.timeout:g} seconds: is it up, and INFLUXDB['URL'] right?"
            )
        if isinstance(error, NewConnectionError):
            reason = self._quote(error).rpartition("connection: ")[2]
            return f"InfluxDB at {self._server} cannot be reached ({reason}): is it running, and INFLUXDB['URL'] right?"
        return f"{self._server} does not talk as InfluxDB does ({self._quote(error)}): check INFLUXDB['URL']."


def _is_html(body: str | None) -> bool:
    return (body or "").lstrip().startswith("<")


def _message(body: str) -> str:
    """The server's own words: `message` in InfluxDB 2's answers, `error` in those of 1 and 3, else the text itself."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return body
    return str(answer.get("message") or answer.get("error") or body) if isinstance(answer, dict) else body
