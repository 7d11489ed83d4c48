"""Ids on log records, records as JSON, and the snippet that the documentation gives for it."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import re
import sys
from pathlib import Path

import pytest
from django.test import Client, override_settings

from monitoring.instrument import logs, tracing
from monitoring.instrument.spans import Options, RequestSpan

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "tracing.md").read_text(encoding="utf-8")


@pytest.fixture
def request_span():
    current = RequestSpan("a" * 32, "b" * 16, Options(service_name="shop"))
    current.trace_id_as_received = "A" * 32
    token = tracing.make_current(current)
    yield current
    tracing.restore(token)


def record(message="hello", *args, **more):
    made = logging.LogRecord("shop.views", logging.WARNING, "views.py", 1, message, args, more.pop("exc_info", None))
    vars(made).update(more)
    return made


def formatted(made):
    text = logs.JSONFormatter().format(made)
    assert len(text.splitlines()) == 1
    return json.loads(text)


def test_the_filter_names_the_innermost_span(request_span):
    made = record()
    assert logs.TraceContextFilter().filter(made)
    assert (made.trace_id, made.span_id, made.service_name) == ("A" * 32, "b" * 16, "shop")
    with tracing.span("inner") as inner:
        logs.TraceContextFilter().filter(made)
    assert made.span_id == inner.span_id


def test_outside_a_request_the_ids_are_empty():
    made = record()
    assert logs.TraceContextFilter().filter(made)
    assert (made.trace_id, made.span_id, made.service_name) == ("", "", "")


def test_a_record_is_one_line_of_json(request_span):
    found = formatted(record("out of %s\nreally", "stock", created=1728278659.25, order=7, request=object()))
    assert found == {
        "time": "2024-10-07T05:24:19.250000Z",
        "level": "WARNING",
        "logger": "shop.views",
        "message": "out of stock\nreally",
        "trace_id": "A" * 32,
        "span_id": "b" * 16,
        "service_name": "shop",
        "order": 7,
    }


def test_what_the_filter_put_on_a_record_is_kept_where_another_thread_formats_it(request_span):
    made = record()
    logs.TraceContextFilter().filter(made)
    token = tracing.make_current(None)
    assert formatted(made)["trace_id"] == "A" * 32
    tracing.restore(token)


def test_exceptions_and_stacks_are_in_the_line():
    try:
        raise ValueError("a bug")
    except ValueError:
        found = formatted(record(exc_info=sys.exc_info(), stack_info="Stack: x"))
    assert "ValueError: a bug" in found["exception"]
    assert found["stack"] == "Stack: x"


class Unprintable:
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("args", [("%d", "x"), ("%s %s", "x"), ("%s", Unprintable()), ("%(a)s", "x")])
def test_arguments_that_do_not_fit_cost_the_arguments(args):
    assert "do not fit" in formatted(record(*args))["message"]


def test_capturing_twice_captures_once(request_span):
    before = logging.getLogRecordFactory()
    try:
        logs.capture()
        first = logging.getLogRecordFactory()
        logs.capture()
        assert logging.getLogRecordFactory() is first
        assert logging.makeLogRecord({"msg": "x"}).msg == "x"
    finally:
        logging.setLogRecordFactory(before)


def test_the_documented_snippets_work(request_span, monkeypatch):
    for formatter in ("line", "json"):
        (snippet,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "LOGGING = " in block]
        found = {}
        exec(snippet, found)
        setting = found["LOGGING"]
        setting["handlers"]["console"]["formatter"] = formatter
        output = io.StringIO()
        monkeypatch.setattr(sys, "stderr", output)
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        try:
            logging.config.dictConfig(setting)
            logging.getLogger("anything").warning("hello")
        finally:
            root.handlers[:], root.level = handlers, level
        assert "A" * 32 in output.getvalue()
        assert "hello" in output.getvalue()


@pytest.mark.parametrize("path", ["/nowhere/", "/failing/"])
def test_what_django_reports_of_a_request_afterwards_carries_its_trace(path, caplog):
    caplog.handler.addFilter(logs.TraceContextFilter())
    watched = override_settings(
        ROOT_URLCONF="tests.watched",
        MIDDLEWARE=["monitoring.middleware.TracingMiddleware"],
        MONITORING={"SERVICE_NAME": "shop"},
    )
    with watched:
        response = Client(raise_request_exception=False).get(path)
    (reported,) = [one for one in caplog.records if one.name == "django.request"]
    assert (reported.trace_id, reported.span_id, reported.service_name) == (
        response["X-Trace-ID"],
        response["X-Span-ID"],
        "shop",
    )
    assert formatted(reported)["trace_id"] == response["X-Trace-ID"]
