"""The two middlewares of a watched service. Each is sync and async in one class: under ASGI a sync-only one costs a thread hop.

Put them first, metrics before tracing, so that they see the whole of a request::

    MIDDLEWARE = ["monitoring.middleware.MetricsMiddleware", "monitoring.middleware.TracingMiddleware", ...]
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from time import perf_counter
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
        if table is None:
            return self.get_response(request)  # type: ignore[no-any-return]
        table.begin()
        started = perf_counter()
        try:
            response: HttpResponseBase = self.get_response(request)
        except BaseException:
            self.record(table, request, 500, started, perf_counter())
            raise
        ended = perf_counter()
        try:
            row = table.rows[request.resolver_match.route][request.method]  # type: ignore[index, union-attr]
            if response.streaming or table is not self.metrics.table:
                raise LookupError  # seldom: let record() see to it
            table.record(row, response.status_code, started, ended)
        except Exception:  # noqa: BLE001
            self.record(table, request, response, started, ended)
        return response

    async def acall(self, request: HttpRequest) -> HttpResponseBase:
        table = self.metrics.table or self.open_table()
        if table is None:
            return await self.get_response(request)  # type: ignore[no-any-return]
        table.begin()
        started = perf_counter()
        try:
            response: HttpResponseBase = await self.get_response(request)
        except BaseException as error:
            status = _CLIENT_CLOSED_REQUEST if isinstance(error, asyncio.CancelledError) else 500
            self.record(table, request, status, started, perf_counter())
            raise
        ended = perf_counter()
        try:
            row = table.rows[request.resolver_match.route][request.method]  # type: ignore[index, union-attr]
            if response.streaming or table is not self.metrics.table:
                raise LookupError  # seldom: let record() see to it
            table.record(row, response.status_code, started, ended)
        except Exception:  # noqa: BLE001
            self.record(table, request, response, started, ended)
        return response

    def open_table(self) -> CounterTable | None:
        try:
            return self.metrics.open()
        except Exception as error:  # noqa: BLE001
            self.complain(error)
            return None

    def record(
        self, table: CounterTable, request: HttpRequest, outcome: HttpResponseBase | int, started: float, ended: float
    ) -> None:
        """End what `table.begin()` began, with a response or the status of a request without one: count it, or abandon it.

        This is for all cases; the usual one, an endpoint seen before, is in the callers, for a call is a tenth of the cost.
        """
        try:
            if table is not self.metrics.table:
                if table.pid != os.getpid():  # forked in the middle of the request, which is the parent's
                    return
                table = self.metrics.open()  # the file was removed, and the counters went on in another
                table.begin()
            row = self.find_row(table, request)
            if row is None:
                table.abandon()
                return
            table.record(row, outcome if isinstance(outcome, int) else outcome.status_code, started, ended)
        except Exception as error:  # noqa: BLE001
            table.abandon()
            self.complain(error)
            return
        try:
            if not isinstance(outcome, int) and outcome.streaming:
                self.watch_stream(table, row, outcome, started)
        except Exception as error:  # noqa: BLE001 (it is counted already, so that nothing is to be abandoned)
            self.complain(error)

    def find_row(self, table: CounterTable, request: HttpRequest) -> Row | None:
        match = request.resolver_match
        route = match.route if match is not None else None
        row = table.rows.get(route, {}).get(request.method or OTHER_METHOD)
        if row is not None:
            return row
        if match is not None and not self.count_metrics_view and getattr(match.func, "monitoring_exclude", False):
            return None
        return table.add_row(route, request.method or OTHER_METHOD, route_of(match))

    def watch_stream(self, table: CounterTable, row: Row, response: HttpResponseBase, started: float) -> None:
        """Time the stream to its end, which the server tells by close(): wrapping the content would cost files their sendfile."""
        close = response.close

        def close_and_record() -> None:
            response.__dict__.pop("close", None)  # once, and no circle of references stays behind
            try:
                close()
            finally:
                table.record_stream(row, perf_counter() - started)

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
