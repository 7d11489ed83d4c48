"""One request's trace from beginning to end: what TracingMiddleware does, without knowing sync from async."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponseBase

from monitoring.instrument import database, logs, propagation
from monitoring.instrument.exporting import ExportQueue, FinishedRequest
from monitoring.instrument.linefile import LineFile
from monitoring.instrument.routes import route_of
from monitoring.instrument.spans import Options, RequestSpan
from monitoring.instrument.texts import Value, bounded, plain
from monitoring.instrument.tracing import current_span
from monitoring.instrument.trouble import say_once
from monitoring.tracelines import format_json, format_text
from monitoring.wire import OTHER_METHOD, STANDARD_METHODS


class RequestTracer:
    """Begins and ends request spans, writes the trace log's lines, and hands what is kept to the exporters. Never raises."""

    def __init__(self, options: Options, trace_log: LineFile | None, as_json: bool, queues: Sequence[ExportQueue]) -> None:
        self.options = options
        self.trace_log = trace_log
        self.format_line = format_json if as_json else format_text
        self.queues = queues
        if queues:
            database.install()
            got_request_exception.connect(_record_exception, dispatch_uid="monitoring.instrument.requesttracing")
            if options.capture_logs is not None:
                logs.capture()

    def begin(self, meta: Mapping[str, Any]) -> RequestSpan:
        """The span of a request with these headers. Its clock starts now."""
        try:
            span = propagation.start_request_span(meta, self.options)
        except Exception as error:  # noqa: BLE001
            say_once("The trace headers of a request could not be read; its trace starts here", error)
            span = propagation.new_trace(self.options)
        if span.sampled and self.queues:
            span.keep_children()
        span.started_at = time.time()
        span.started = time.perf_counter()
        return span

    def end(self, span: RequestSpan, request: HttpRequest, status: int, error: BaseException | None = None) -> None:
        """The response is made, or the request failed with an error that nobody turned into a response."""
        ended = time.perf_counter()
        try:
            queues = self.queues
            if queues and (span.children is not None or self.is_kept_anyway(span, status, ended - span.started)):
                if isinstance(error, Exception):
                    span.record_exception(error)
                describe(span, request, status)
                span.ended = ended
                finished = FinishedRequest(span)
                for queue in queues:
                    queue.put(finished)
            else:
                span.ended = ended
            if self.trace_log is not None:
                duration = ended - span.started
                line = self.format_line(
                    span.started_at + duration,
                    self.options.service_name,
                    span.trace_id_as_received or span.trace_id,
                    span.span_id,
                    span.parent_as_logged or span.parent_span_id,
                    request.method or "",
                    request.path,
                    duration,
                    status if isinstance(status, int) else 0,
                )
                self.trace_log.write(line)
        except Exception as trouble:  # noqa: BLE001
            say_once("The trace of a request could not be finished; the request was", trouble)

    def is_kept_anyway(self, span: RequestSpan, status: int, duration: float) -> bool:
        """Whether a request that is not sampled keeps its request span: it failed, or was slow."""
        slow_seconds = self.options.slow_seconds
        return span.error is not None or _is_failure(status) or (slow_seconds is not None and duration > slow_seconds)

    def name_trace(self, response: HttpResponseBase, span: RequestSpan) -> None:
        """Say in the response which trace it belongs to."""
        try:
            # Past the conversions of ResponseHeaders.__setitem__, which cost 1 µs, for ids need none: ASCII without line breaks.
            headers = response.headers._store
            headers["x-trace-id"] = ("X-Trace-ID", span.trace_id_as_received or span.trace_id)
            headers["x-span-id"] = ("X-Span-ID", span.span_id)
        except Exception as error:  # noqa: BLE001
            say_once("A response could not name its trace", error)


def describe(span: RequestSpan, request: HttpRequest, status: int) -> None:
    """Name and attributes by OpenTelemetry's conventions (https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server)."""
    method = request.method or ""
    if method not in STANDARD_METHODS:
        method = OTHER_METHOD
    attributes: dict[str, Value] = {
        "http.request.method": method,
        "url.scheme": request.scheme or "",
        "url.path": bounded(request.path),
        "http.response.status_code": plain(status),
    }
    match = request.resolver_match
    if match is not None:
        attributes["http.route"] = route = route_of(match)
        span.name = f"{'HTTP' if method == OTHER_METHOD else method} {route}"
    else:
        span.name = "HTTP" if method == OTHER_METHOD else method
    if _is_failure(status) and span.error is None:
        span.error = str(status)
    if span.error is not None:
        attributes["error.type"] = span.error
    if span.dropped_spans:
        attributes["monitoring.dropped_spans"] = span.dropped_spans
    span.attributes = attributes if span.attributes is None else {**span.attributes, **attributes}


def _is_failure(status: object) -> bool:
    return isinstance(status, int) and status >= 500


def _record_exception(sender: Any, **kwargs: Any) -> None:
    """An exception that no view or middleware handled: Django makes a response of status 500 of it."""
    span, error = current_span(), sys.exc_info()[1]
    if span is not None and error is not None:
        try:
            span.request.record_exception(error)
        except Exception as trouble:  # noqa: BLE001
            say_once("The exception of a request could not be recorded; Django reports it", trouble)
