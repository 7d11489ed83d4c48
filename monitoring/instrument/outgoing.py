"""Calls to other services, that carry the trace on and are spans of it.

For requests there are TracingSession and, for a session of one's own, TracingAdapter. For any other client::

    with call_span("GET", url) as call:
        response = client.get(url, headers={**own_headers, **trace_headers(url)})
        call.set_status(response.status_code)

`trace_headers(url)` alone carries the trace on, too, and the call is no span then.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from monitoring.instrument.propagation import TRACE_HEADERS, may_propagate, outgoing_headers
from monitoring.instrument.spans import Span
from monitoring.instrument.tracing import current_span, make_current, restore
from monitoring.instrument.trouble import say_once
from monitoring.wire import OTHER_METHOD, STANDARD_METHODS

if TYPE_CHECKING:
    from contextvars import Token


def trace_headers(url: object = "") -> dict[str, str]:
    """The headers that carry the current trace to this URL; none outside a request, or where its host is not to have them."""
    current = current_span()
    if current is None or not may_propagate(current, _split(url).hostname or ""):
        return {}
    return outgoing_headers(current)


class CallSpan:
    """One outgoing HTTP request as a span; outside a request, nothing. Made by `call_span()`."""

    __slots__ = ("_method", "_span", "_token", "_url")

    def __init__(self, method: str, url: str) -> None:
        self._method = method
        self._url = url
        self._span: Span | None = None
        self._token: Token[Span | None] | None = None

    def __enter__(self) -> CallSpan:
        parent = current_span()
        if parent is None:
            return self
        try:
            self._span = _start(parent, self._method, self._url)
            self._token = make_current(self._span)
        except Exception as error:  # noqa: BLE001
            say_once("The span of a call could not be made; the call was", error)
        return self

    def set_status(self, status: int) -> None:
        """The status code of the response; from 400 on the call has failed."""
        span = self._span
        if span is not None:
            span.set_attribute("http.response.status_code", status)
            if status >= 400:
                span.set_error(str(status))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        span = self._span
        if span is None or self._token is None:
            return
        if isinstance(error, Exception):
            span.record_exception(error)
        span.end()
        restore(self._token)


def call_span(method: str, url: str) -> CallSpan:
    """A context manager for one HTTP request made by another client than requests. Neither raises nor costs the call."""
    return CallSpan(method, url)


class TracingAdapter(BaseAdapter):
    """Makes the requests of a session carry the trace: `session.mount("https://", TracingAdapter())`.

    Around another adapter, if one is given, such as one with retries.
    """

    def __init__(self, adapter: BaseAdapter | None = None) -> None:
        super().__init__()
        self.adapter = HTTPAdapter() if adapter is None else adapter

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        # Redirects come through here, too, each as a request of its own without the headers of the one before.
        if current_span() is None:
            return self.adapter.send(request, *args, **kwargs)
        url = request.url or ""
        with call_span(request.method or "", url) as call:
            try:
                request = _carrying(request, url)
            except Exception as error:  # noqa: BLE001
                say_once("A call could not carry the trace; it was made", error)
            response = self.adapter.send(request, *args, **kwargs)
            call.set_status(response.status_code)
            return response

    def close(self) -> None:
        self.adapter.close()


class TracingSession(requests.Session):
    """A requests.Session whose requests carry the current trace; outside a request it is a plain one."""

    def get_adapter(self, url: str) -> BaseAdapter:
        adapter = super().get_adapter(url)
        return adapter if isinstance(adapter, TracingAdapter) else TracingAdapter(adapter)


def _carrying(request: requests.PreparedRequest, url: str) -> requests.PreparedRequest:
    """A copy with the headers of the trace; the caller's stays as it was."""
    current = current_span()
    headers = trace_headers(url)
    if current is None:
        return request
    if not headers and not _names(request.headers, current):
        return request
    request = request.copy()
    for name in TRACE_HEADERS:  # those that the caller passed on from its own request
        request.headers.pop(name, None)
    request.headers.update(headers)
    return request


def _names(headers: Mapping[str, Any], span: Span) -> bool:
    """Whether headers that the caller set itself tell of this trace, which this host is not to see."""
    trace_id = span.request.trace_id
    return trace_id in str(headers.get("traceparent", "")) or span.request.trace_id_spelled in str(headers.get("X-Trace-ID", ""))


def _start(parent: Span, method: str, url: str) -> Span:
    """By OpenTelemetry's conventions (https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span)."""
    request = parent.request
    known = method if method in STANDARD_METHODS else OTHER_METHOD
    span = Span(request, "HTTP" if known == OTHER_METHOD else known, parent.span_id)
    span.kind = "client"
    if request.children is not None and request.keep(span):
        parts = _split(url)
        span.set_attribute("http.request.method", known)
        span.set_attribute("url.full", _without_secrets(parts))
        if parts.hostname:
            span.set_attribute("server.address", parts.hostname)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        if port:
            span.set_attribute("server.port", port)
    return span


def _split(url: object) -> SplitResult:
    """The parts of a URL, of whatever type; none of one that cannot be read, which the client will complain about."""
    try:
        parts = urlsplit(url.decode("latin-1") if isinstance(url, bytes) else str(url))
        parts.port  # noqa: B018 (raises where it is no number)
    except ValueError:
        return SplitResult("", "", "", "", "")
    return parts


def _without_secrets(parts: SplitResult) -> str:
    """The URL without credentials, query string and fragment."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
