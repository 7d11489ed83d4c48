"""Log records and traces: a filter that puts the ids on every record, a JSON formatter, and records as events of spans."""

from __future__ import annotations

import json
import logging
from typing import Any

from monitoring.instrument.texts import Value, bounded, exception_attributes, redact
from monitoring.instrument.tracing import current_span
from monitoring.instrument.trouble import say_once
from monitoring.tracelines import format_time

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
_IDS = ("trace_id", "span_id", "service_name")


class TraceContextFilter(logging.Filter):
    """Puts `trace_id`, `span_id` and `service_name` on every record; empty outside a request. Lets all records pass.

    The trace id is spelled as in the trace log and in the headers, so that one search finds everything of a trace.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.trace_id, record.span_id, record.service_name = _ids(record)
        return True


class JSONFormatter(logging.Formatter):
    """One line of JSON a record, for Loki and the like: time, level, logger, message, the ids, and what `extra` brought.

    Finds the ids by itself where the filter is not used. A record whose arguments do not fit says so, and is not lost.
    """

    def format(self, record: logging.LogRecord) -> str:
        ids = [getattr(record, name, None) for name in _IDS]
        if None in ids:
            ids = list(_ids(record))
        line: dict[str, Any] = {
            "time": format_time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            **dict(zip(_IDS, ids, strict=True)),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in line and (value is None or isinstance(value, str | int | float)):
                line[name] = value
        return json.dumps(line)


def capture() -> None:
    """From now on, records that are logged in a request become events of its spans. May be called again.

    By the factory of records, not by a handler: one on the root logger would miss loggers that do not propagate, silence Python's
    output for loggers without handlers, and keep logging.basicConfig() from working.
    """
    before = logging.getLogRecordFactory()
    if getattr(before, "captures_for_monitoring", False):
        return

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        span = current_span()
        if span is not None:
            try:
                level = span.request.options.capture_logs
                if level is not None and span.request.is_recording and record.levelno is not None and record.levelno >= level:
                    span.keep_event("log", _event_attributes(record))
            except Exception as error:  # noqa: BLE001
                say_once("A log record could not be kept with its trace; it was logged", error)
        return record

    factory.captures_for_monitoring = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)


def _event_attributes(record: logging.LogRecord) -> dict[str, Value]:
    attributes: dict[str, Value] = {
        "log.severity": record.levelname,
        "log.logger": record.name,
        "log.message": redact(bounded(_message(record))),
    }
    if record.exc_info and record.exc_info[1] is not None:
        attributes.update(exception_attributes(record.exc_info[1], with_stacktrace=record.name != "django.request"))
    return attributes


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001
        return f"{record.msg!s} (its arguments do not fit: {type(error).__name__})"


def _ids(record: logging.LogRecord) -> tuple[str, str, str]:
    # Django reports a status of 400 and above after all middleware is done, with the request on the record.
    span = current_span() or getattr(getattr(record, "request", None), "monitoring_span", None)
    if span is None:
        return "", "", ""
    request = span.request
    return request.trace_id_spelled, span.span_id, request.options.service_name
