"""From the URL of an instance to its metrics document, or an error that says why there is none."""

from __future__ import annotations

import contextlib
import http.client
import re
import ssl
import threading
import time
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from urllib3 import BaseHTTPResponse
from urllib3 import exceptions as urllib3_errors

from monitoring import wire
from monitoring.collector.connections import ForbiddenTargetError, StaleConnectionError, UnknownHostError
from monitoring.collector.transport import Session, TrustError, causes, read_body

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""Bytes of a document that are read, decompressed. The document of 1,000 endpoints with full histograms has about 1 MB."""

MAX_MESSAGE_LENGTH = 500
"""Characters of an error message; what a server sent is quoted in it."""

_LARGE = 1024 * 1024
_one_large_document = threading.Lock()  # what JSON takes for a moment is many times its size
_TOO_LARGE = f"The document is larger than {MAX_DOCUMENT_BYTES // 1024 // 1024} MiB: is this the URL of a metrics document?"
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_STATUS_HINTS = {
    400: "if it is a Django service, its ALLOWED_HOSTS must contain {host!r}",
    404: "is the path of the URL right? A service usually has its document at /metrics",
    429: "the service limits how often it may be asked",
    502: "the proxy before the service does not reach it",
    503: "the service is not ready, or overloaded",
    504: "the service does not answer the proxy before it",
}


class FetchError(Exception):
    """An instance gave no metrics document. The message tells an operator why; it is one line and never holds the token."""


class _UnreadableError(Exception):
    """What was received is no answer of the expected kind; the message becomes the FetchError's."""


def fetch(
    url: str, *, timeout: float, token: str = "", seconds_per_unit: float = 1.0, session: Session | None = None
) -> wire.MetricsDocument:
    """Fetch and read a metrics document. Raises FetchError and nothing else, whatever the server does.

    `timeout` is in seconds, from the look-up of the name to the last byte. `token` is sent as the bearer token.
    `seconds_per_unit`: see wire.parse. A `session` says which addresses are allowed, and may keep connections.
    """
    try:
        if session is not None:
            return _fetch_anew(session, url, timeout, token, seconds_per_unit)
        with Session() as own:
            return _fetch(own, url, timeout, token, seconds_per_unit)
    except _UnreadableError as error:
        message = str(error)
    except Exception as error:  # noqa: BLE001 (whatever a server does ends as one instance's error)
        message = _explain(error, url, timeout)
    raise FetchError(presentable(message, token))


def _fetch_anew(session: Session, url: str, timeout: float, token: str, seconds_per_unit: float) -> wire.MetricsDocument:
    """Once more where a kept connection was closed just as the request was sent: that says nothing about the service."""
    start = time.monotonic()
    try:
        return _fetch(session, url, timeout, token, seconds_per_unit)
    except urllib3_errors.ProtocolError as error:
        remaining = timeout - (time.monotonic() - start)
        if remaining <= 0 or not any(isinstance(one, StaleConnectionError) for one in causes(error)):
            raise
    with session.fresh() as fresh:
        return _fetch(fresh, url, remaining, token, seconds_per_unit)


def _fetch(session: Session, url: str, timeout: float, token: str, seconds_per_unit: float) -> wire.MetricsDocument:
    headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "django-fleet-monitoring"}
    if token:
        if not token.isascii() or not token.isprintable() or " " in token:
            raise _UnreadableError("The bearer token holds a space, a line break or a non-ASCII character: enter it again.")
        headers["Authorization"] = f"Bearer {token}"
    with contextlib.closing(session.get(url, headers, timeout)) as response:
        if response.status != HTTPStatus.OK:
            raise _UnreadableError(_explain_status(response, url, token))
        try:
            body, whole = read_body(response, MAX_DOCUMENT_BYTES)
        except urllib3_errors.HTTPError as error:
            if any(isinstance(one, TimeoutError | urllib3_errors.TimeoutError) for one in causes(error)):
                raise _UnreadableError(f"The document did not arrive whole within {timeout:g} s.") from None
            raise
        content_type = response.headers.get("Content-Type", "")
    try:
        if not whole:
            return wire.parse_beginning(body, seconds_per_unit)
        with _one_large_document if len(body) > _LARGE else contextlib.nullcontext():
            return wire.parse(body, seconds_per_unit)
    except wire.DocumentError as error:
        raise _UnreadableError(_explain_document(error, body, content_type) if whole else _TOO_LARGE) from None


def _explain_status(response: BaseHTTPResponse, url: str, token: str) -> str:
    code = response.status
    location = response.headers.get("Location")
    if 300 <= code < 400 and location:
        # http.client decodes headers as Latin-1, while servers send UTF-8
        target = location.encode("latin-1", "replace").decode("utf-8", "replace")
        with contextlib.suppress(ValueError):  # it is no URL: shown as it came
            target = urljoin(url, target)
        return f"The address redirects to {target}; register that address instead."
    try:
        answer = f"HTTP {code} {HTTPStatus(code).phrase}"
    except ValueError:
        answer = f"HTTP {code}"
    if code in (401, 403):
        wanted = "is its bearer token the one registered here?" if token else "register its bearer token."
        return f"{answer}: the service does not show its metrics to this collector; {wanted}"
    hint = _STATUS_HINTS.get(code, "see the service's own log" if code >= 500 else "expected was 200 with a metrics document")
    return f"{answer}: {hint.format(host=urlsplit(url).hostname)}."


def _explain_document(error: wire.DocumentError, body: bytearray, content_type: str) -> str:
    start = body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return "The answer is empty: is this the URL of a metrics document?"
    if "html" in content_type.lower() or start.startswith((b"<!doctype", b"<html")):
        return "The answer is a web page (HTML), not a metrics document: is the path of the URL right?"
    if start.startswith((b"# help", b"# type")):
        return "The answer is in Prometheus text format; a metrics document in JSON is expected: leave ?format=prometheus out."
    return f"The answer is no metrics document: {error}."


def _explain(error: Exception, url: str, timeout: float) -> str:
    chain = list(causes(error))

    def first(*kinds: type[BaseException]) -> BaseException | None:
        return next((one for one in chain if isinstance(one, kinds)), None)

    if isinstance(error, ForbiddenTargetError):
        return (
            f"{urlsplit(url).hostname} is at {error}, which may not be polled: if it is meant to be, the setting"
            " ALLOWED_TARGETS has to name its network."
        )
    if isinstance(error, TrustError):
        return f"The certificate authorities cannot be read ({error}): set REQUESTS_CA_BUNDLE to a file that is there."
    if isinstance(error, urllib3_errors.LocationValueError) and not isinstance(error, urllib3_errors.LocationParseError):
        return f"The URL cannot be used: {error}."
    if first(UnknownHostError, UnicodeError, urllib3_errors.LocationParseError):
        return "The host name cannot be resolved: is it spelled right, and known to the DNS of the machine that collects?"
    if untrusted := first(ssl.SSLCertVerificationError):
        reason = getattr(untrusted, "verify_message", "") or str(untrusted)
        return f"The TLS certificate is not accepted: {reason}. REQUESTS_CA_BUNDLE names the file of an authority of your own."
    if broken := first(ssl.SSLError):
        return f"TLS fails ({getattr(broken, 'reason', None) or broken}): does this port speak https?"
    if first(ConnectionRefusedError):
        return "Connection refused: is the service running, and is the port right?"
    if first(urllib3_errors.ConnectTimeoutError):
        return f"No connection within {timeout:g} s: is the host up, and does the network let this machine through?"
    if first(TimeoutError, urllib3_errors.TimeoutError):
        return f"No answer within {timeout:g} s."
    if incomplete := first(urllib3_errors.IncompleteRead, http.client.IncompleteRead):
        return f"The answer broke off before its end ({incomplete})."
    if first(ConnectionResetError, ConnectionAbortedError, BrokenPipeError):  # http.client.RemoteDisconnected is one too
        return "The connection was closed before an answer came: did the service restart, and does this port speak http?"
    if first(urllib3_errors.DecodeError):
        return "The answer is not compressed as its Content-Encoding says."
    if first(http.client.HTTPException, urllib3_errors.ProtocolError, urllib3_errors.HeaderParsingError):
        return f"The answer is not HTTP ({chain[-1]}): is the port right, and is it http, not https?"
    failed = first(OSError)
    if isinstance(failed, OSError) and failed.strerror:
        return f"The host cannot be reached: {failed.strerror}."
    return f"The poll failed: {type(error).__name__}: {error}."


def presentable(message: str, token: str) -> str:
    """One line of bounded length, without the token, which a server may have sent back."""
    if token:
        message = message.replace(token, "[token]")
    message = _UNPRINTABLE.sub(" ", message)
    return message if len(message) <= MAX_MESSAGE_LENGTH else f"{message[: MAX_MESSAGE_LENGTH - 1]}…"
