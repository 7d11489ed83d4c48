"""The two middlewares of a watched service. Each is sync and async in one class: under ASGI a sync-only one costs a thread hop.

Put them first, metrics before tracing, so that they see the whole of a request::

    MIDDLEWARE = ["monitoring.middleware.MetricsMiddleware", "monitoring.middleware.TracingMiddleware", ...]
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponseBase

from monitoring import service
from monitoring.conf import conf
from monitoring.instrument import tracing
from monitoring.instrument.routes import route_of
from monitoring.instrument.store import CounterTable, Row
from monitoring.wire import OTHER_METHOD

logger = logging.getLogger("monitoring")

GetResponse = Callable[[HttpRequest], Any]

_CLIENT_CLOSED_REQUEST = 499  # as nginx counts a client that left before the answer


class _Middleware:
    """What both have in common: sync or async by what they wrap, and none of it where ENABLED is False."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        if not conf.ENABLED:
            raise MiddlewareNotUsed
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)  # type: ignore[type-var]
        self.exclude_paths = conf.EXCLUDE_PATHS
        self._complained = False

    def is_excluded(self, request: HttpRequest) -> bool:
        return any(pattern.match(request.path_info) for pattern in self.exclude_paths)

    def complain(self, error: Exception) -> None:
        """What breaks in here is said once, and never reaches the application."""
        if not self._complained:
            self._complained = True
            logger.error("%s failed; requests go on without it", type(self).__name__, exc_info=error)


class MetricsMiddleware(_Middleware):
    """Counts requests, durations and status codes per method + route."""

    def __init__(self, get_response: GetResponse) -> None:
        super().__init__(get_response)
        self.metrics = service.request_metrics()
        self.count_metrics_view = conf.COUNT_METRICS_VIEW

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.exclude_paths and self.is_excluded(request):
            return self.get_response(request)  # type: ignore[no-any-return]
        if self.is_async:
            return self.acall(request)
        table = self.metrics.table or self.open_table()
        if table is not None:
            table.begin()
        started = time.perf_counter()
        try:
            response: HttpResponseBase = self.get_response(request)
        except BaseException:
            self.record(table, request, 500, started, time.perf_counter())
            raise
        self.record(table, request, response.status_code, started, time.perf_counter(), response)
        return response

    async def acall(self, request: HttpRequest) -> HttpResponseBase:
        table = self.metrics.table or self.open_table()
        if table is not None:
            table.begin()
        started = time.perf_counter()
        try:
            response: HttpResponseBase = await self.get_response(request)
        except BaseException as error:
            status = _CLIENT_CLOSED_REQUEST if isinstance(error, asyncio.CancelledError) else 500
            self.record(table, request, status, started, time.perf_counter())
            raise
        self.record(table, request, response.status_code, started, time.perf_counter(), response)
        return response

    def open_table(self) -> CounterTable | None:
        try:
            return self.metrics.open()
        except Exception as error:  # noqa: BLE001
            self.complain(error)
            return None

    def record(
        self,
        table: CounterTable | None,
        request: HttpRequest,
        status: int,
        started: float,
        ended: float,
        response: HttpResponseBase | None = None,
    ) -> None:
        if table is None:
            return
        try:
            if table is not self.metrics.table:
                if table.pid != os.getpid():  # forked in the middle of the request, which is the parent's
                    return
                table = self.metrics.open()  # the file was removed, and the counters went on in another
                table.begin()
            match = request.resolver_match
            row: Row | None
            try:
                row = table.rows[match.route if match is not None else None][request.method]  # type: ignore[index]
            except KeyError:
                row = self.find_row(table, request)
            if row is None:
                table.abandon()
                return
            table.record(row, status, started, ended)
            if response is not None and response.streaming:
                self.watch_stream(table, row, response, started)
        except Exception as error:  # noqa: BLE001
            self.complain(error)

    def find_row(self, table: CounterTable, request: HttpRequest) -> Row | None:
        match = request.resolver_match
        if match is not None and not self.count_metrics_view and getattr(match.func, "monitoring_exclude", False):
            return None
        return table.add_row(match.route if match is not None else None, request.method or OTHER_METHOD, route_of(match))

    def watch_stream(self, table: CounterTable, row: Row, response: HttpResponseBase, started: float) -> None:
        """Time the stream to its end, which the server tells by close(): wrapping the content would cost files their sendfile."""
        close = response.close

        def close_and_record() -> None:
            response.__dict__.pop("close", None)  # once, and no circle of references stays behind
            try:
                close()
            finally:
                table.record_stream(row, time.perf_counter() - started)

        response.close = close_and_record  # type: ignore[method-assign]


class TracingMiddleware(_Middleware):
    """Continues or starts a trace, makes its span current, names it in the response and in the trace log."""

    def __init__(self, get_response: GetResponse) -> None:
        super().__init__(get_response)
        self.tracer = service.request_tracer()

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.exclude_paths and self.is_excluded(request):
            return self.get_response(request)  # type: ignore[no-any-return]
        if self.is_async:
            return self.acall(request)
        span = self.tracer.begin(request.META)
        request.monitoring_span = span  # type: ignore[attr-defined]  # for what is logged of the request afterwards
        token = tracing.make_current(span)
        try:
            response: HttpResponseBase = self.get_response(request)
        except BaseException as error:
            tracing.restore(token)
            self.tracer.end(span, request, 500, error)
            raise
        tracing.reset_current(token)
        self.tracer.end(span, request, response.status_code)
        self.tracer.name_trace(response, span)
        return response

    async def acall(self, request: HttpRequest) -> HttpResponseBase:
        span = self.tracer.begin(request.META)
        request.monitoring_span = span  # type: ignore[attr-defined]  # for what is logged of the request afterwards
        token = tracing.make_current(span)
        try:
            response: HttpResponseBase = await self.get_response(request)
        except BaseException as error:
            tracing.restore(token)
            status = _CLIENT_CLOSED_REQUEST if isinstance(error, asyncio.CancelledError) else 500
            self.tracer.end(span, request, status, error)
            raise
        tracing.reset_current(token)
        self.tracer.end(span, request, response.status_code)
        self.tracer.name_trace(response, span)
        return response
