"""Query spans: a wrapper on each database connection, put there once when it is made, files queries under the current span.

The request pays for a tuple; names, texts and attributes are made of it when the spans are exported.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from monitoring.instrument.spans import RequestSpan, Span
from monitoring.instrument.texts import MAX_SQL, Value, type_name
from monitoring.instrument.tracing import current_span
from monitoring.instrument.trouble import say_once

EQUAL_QUERIES_KEPT = 5
"""So many equal queries of one request have a span each; all further ones share one."""

_SYSTEMS = {
    "postgresql": "postgresql",
    "mysql": "mysql",
    "sqlite": "sqlite",
    "oracle": "oracle.db",
    "microsoft": "microsoft.sql_server",
}
_SAVEPOINTS = ("SAVEPOINT ", "RELEASE SAVEPOINT ", "ROLLBACK TO SAVEPOINT ", "SAVE TRANSACTION ", "ROLLBACK TRANSACTION ")

_OPERATION = re.compile(r"(?:[\s(]|--[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)*([A-Za-z]+)")
_TARGET = re.compile(r"\b(?:FROM|INTO|UPDATE|TABLE)\s+([\"`\[]?[\w$]+[\"`\]]?(?:\.[\"`\[]?[\w$]+[\"`\]]?)*)", re.IGNORECASE)
_QUOTES = str.maketrans("", "", '"`[]')
_NUMBER = r"(?<![\w$.%])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?!\w)"
_LITERALS = re.compile(
    rf"""[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z)|\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)|(?P<name>"[^"]*(?:"|\Z))|{_NUMBER}""",
    re.DOTALL,
)
_MYSQL_LITERALS = re.compile(
    rf"""'(?:[^'\\]|''|\\.)*(?:'|\Z)|"(?:[^"\\]|""|\\.)*(?:"|\Z)|(?P<name>`[^`]*(?:`|\Z))|{_NUMBER}""", re.DOTALL
)

_counting = threading.Lock()


class Query:
    """One query, or the further ones of several equal ones, before anybody asked for its span."""

    __slots__ = ("batch", "count", "ended", "error", "literal", "parent_span_id", "recorder", "seconds", "sql", "started")

    def __init__(
        self, recorder: QueryRecorder, parent_span_id: str, sql: str, literal: bool, batch: int, started: float, ended: float
    ) -> None:
        self.recorder = recorder
        self.parent_span_id = parent_span_id
        self.sql = sql
        self.literal = literal
        self.batch = batch
        self.started = started
        self.ended = ended
        self.error: str | None = None
        self.count = 1
        self.seconds = ended - started

    def span(self, request: RequestSpan) -> Span:
        """Named and described by OpenTelemetry's conventions (https://opentelemetry.io/docs/specs/semconv/database/)."""
        recorder = self.recorder
        operation, target, text = _described(self.sql, self.literal, recorder.vendor)
        made = Span(request, f"{operation} {target}".strip() or recorder.system, self.parent_span_id)
        made.kind = "client"
        made.started, made.ended, made.error = self.started, self.ended, self.error
        attributes = {**recorder.attributes, "db.operation.name": operation, "db.query.summary": made.name}
        if target:
            attributes["db.collection.name"] = target
        if request.options.capture_sql:
            attributes["db.query.text"] = text
        if self.batch > 1:
            attributes["db.operation.batch.size"] = self.batch
        if self.count > 1:
            attributes["monitoring.query.count"] = self.count
            attributes["monitoring.query.duration"] = self.seconds
        made.attributes = attributes
        return made


class QueryRecorder:
    """The wrapper of one connection (https://docs.djangoproject.com/en/stable/topics/db/instrumentation/)."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.vendor = connection.vendor
        self.system = _SYSTEMS.get(self.vendor, self.vendor)
        self.attributes: dict[str, Value] = {"db.system.name": self.system, "monitoring.database": connection.alias}
        for name, key in (("db.namespace", "NAME"), ("server.address", "HOST"), ("server.port", "PORT")):
            value = str(connection.settings_dict.get(key) or "")
            if value:
                self.attributes[name] = int(value) if key == "PORT" and value.isdecimal() else value

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        current = current_span()
        if current is None or current.request.children is None:
            return execute(sql, params, many, context)
        started = time.perf_counter()
        try:
            result = execute(sql, params, many, context)
        except Exception as error:
            self.record(current, sql, params, many, started, time.perf_counter(), error)
            raise
        self.record(current, sql, params, many, started, time.perf_counter(), None)
        return result

    def record(
        self, current: Span, sql: Any, params: Any, many: bool, started: float, ended: float, error: Exception | None
    ) -> None:
        try:
            self._record(current, sql, params, many, started, ended, error)
        except Exception as trouble:  # noqa: BLE001
            say_once("A query could not be recorded; it was made", trouble)

    def _record(
        self, current: Span, sql: Any, params: Any, many: bool, started: float, ended: float, error: Exception | None
    ) -> None:
        request = current.request
        if type(sql) is not str:
            sql = f"({type(sql).__name__})"  # psycopg's composed SQL, say: its text has the values in it
        kept = sql if len(sql) <= MAX_SQL else sql[:MAX_SQL]
        if kept.startswith(_SAVEPOINTS):
            kept = kept.rpartition(" ")[0]  # each has a name of its own
        key = (self, kept, len(sql) if len(sql) > MAX_SQL else 0)
        seen = request.queries.get(key, 0)
        if type(seen) is Query and error is None:
            with _counting:
                seen.count += 1
                seen.seconds += ended - started
                seen.ended = max(seen.ended, ended)
                if seen.parent_span_id != current.span_id:
                    seen.parent_span_id = request.span_id
            return
        batch = len(params) if many and isinstance(params, list | tuple) else 0
        query = Query(self, current.span_id, kept, not params, batch, started, ended)
        if error is not None:
            query.error = type_name(type(error))
        if not request.has_room(kept):
            request.dropped_spans += 1
        elif request.keep(query) and type(seen) is int:
            request.queries[key] = seen + 1 if seen < EQUAL_QUERIES_KEPT else query


@functools.lru_cache(512)
def _described(sql: str, literal: bool, vendor: str) -> tuple[str, str, str]:
    """Operation, table and text of a query; where it had no parameters, without the strings and numbers that stand in it."""
    if literal:
        sql = (_MYSQL_LITERALS if vendor == "mysql" else _LITERALS).sub(lambda match: match["name"] or "?", sql)
    operation = _OPERATION.match(sql)
    target = _TARGET.search(sql)
    return operation[1].upper() if operation else "", target[1].translate(_QUOTES) if target else "", sql


def install() -> None:
    """Watch the queries of all connections, those that exist in this thread already included. May be called again."""
    connection_created.connect(_watch, dispatch_uid="monitoring.instrument.database")
    for connection in connections.all(initialized_only=True):
        _watch(connection=connection)


def _watch(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if not any(type(wrapper) is QueryRecorder for wrapper in connection.execute_wrappers):
        connection.execute_wrappers.append(QueryRecorder(connection))
