"""What a request leaves behind for the exporters, under both of Django's handlers."""

from __future__ import annotations

import asyncio
import re

import pytest
from django.db import connections
from django.test import AsyncClient, Client, override_settings

from monitoring.instrument import spans
from monitoring.instrument.tracing import current_span
from tests.traced import HangingExporter, exported, keeping

MIDDLEWARE = ["monitoring.middleware.MetricsMiddleware", "monitoring.middleware.TracingMiddleware"]

pytestmark = pytest.mark.django_db(transaction=True)


def traced(**settings):
    return override_settings(ROOT_URLCONF="tests.traced", MIDDLEWARE=MIDDLEWARE, MONITORING=keeping(**settings))


def ask(path, interface="WSGI", **headers):
    """The response, and the one trace that was exported."""
    if interface == "WSGI":
        response = Client(raise_request_exception=False).get(path, headers=headers)
    else:

        async def one():
            return await AsyncClient(raise_request_exception=False).get(path, headers=headers)

        response = asyncio.run(one())
    assert current_span() is None
    (trace,) = exported()
    return response, trace


@pytest.fixture(params=["WSGI", "ASGI"])
def interface(request):
    return request.param


@pytest.fixture(autouse=True)
def nothing_left():
    exported()
    yield
    for connection in connections.all(initialized_only=True):
        connection.execute_wrappers.clear()


def named(trace, name):
    (found,) = [span for span in trace.spans if span.name == name]
    return found


def events(span, name):
    return [event.attributes for event in span.events or () if event.name == name]


def test_a_request_span_is_named_and_described_by_the_conventions(interface):
    with traced():
        response, trace = ask("/plain/?secret=1", interface)
    (span,) = trace.spans
    assert trace.service_name == "shop"
    assert (span.name, span.kind, span.error, span.parent_span_id) == ("GET /plain/", "server", None, "")
    assert (span.trace_id, span.span_id) == (response["X-Trace-ID"], response["X-Span-ID"])
    assert span.attributes == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "url.path": "/plain/",
        "http.route": "/plain/",
        "http.response.status_code": 200,
    }
    assert 0 < span.duration < 60


def test_queries_and_own_spans_are_children_of_what_they_happened_in(interface):
    with traced():
        _response, trace = ask("/queries/" if interface == "WSGI" else "/async_queries/", interface)
    request, inner = trace.spans[0], named(trace, "inner")
    first, second = (span for span in trace.spans if span.name == "SELECT")
    assert inner.parent_span_id == first.parent_span_id == request.span_id
    assert second.parent_span_id == inner.span_id
    assert inner.attributes == {"kind_of": "test", "items": 3}
    assert first.kind == "client"
    assert first.attributes["db.query.text"] == "SELECT %s AS a"
    assert first.attributes["db.system.name"] == "sqlite"
    assert "secret" not in str([span.attributes for span in trace.spans])
    assert request.started <= first.started <= first.ended <= inner.started <= second.started <= second.ended <= inner.ended
    assert len({span.span_id for span in trace.spans}) == 4


def test_a_sync_view_under_asgi_has_its_queries():
    with traced():
        _response, trace = ask("/queries/", "ASGI")
    assert len(trace.spans) == 4


def test_without_capture_sql_no_text_is_kept():
    with traced(CAPTURE_SQL=False):
        _response, trace = ask("/queries/")
    assert "db.query.text" not in trace.spans[1].attributes
    assert trace.spans[1].attributes["db.query.summary"] == "SELECT"


def test_equal_queries_beyond_the_first_few_are_one_span():
    with traced():
        _response, trace = ask("/n_plus_one/")
    queries = trace.spans[1:]
    assert len(queries) == 6
    assert [query.attributes.get("monitoring.query.count") for query in queries] == [None] * 5 + [95]
    rest = queries[-1]
    assert 0 < rest.attributes["monitoring.query.duration"] <= rest.duration


def test_savepoints_are_equal_whatever_their_names():
    with traced():
        _response, trace = ask("/savepoints/")
    assert len(trace.spans) < 20
    assert {span.name for span in trace.spans[1:]} <= {"BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"}
    counts = {span.name: span.attributes.get("monitoring.query.count", 0) for span in trace.spans[1:]}
    assert counts["SAVEPOINT"] == counts["RELEASE"] == 15


def test_a_flood_of_spans_is_bounded_in_number_and_size():
    with traced():
        _response, trace = ask("/flooding/")
    assert len(trace.spans) <= spans.MAX_SPANS + 1
    assert trace.spans[0].attributes["monitoring.dropped_spans"] > 1000
    texts = [value for span in trace.spans for value in (span.attributes or {}).values() if isinstance(value, str)]
    assert sum(map(len, texts)) < spans.MAX_CHARACTERS * 1.2


def test_sql_of_a_megabyte_is_cut_and_its_data_masked():
    with traced():
        response, trace = ask("/huge_sql/")
    assert response.status_code == 200
    assert trace.spans[1].attributes["db.query.text"] == "SELECT ?"


def test_a_query_that_fails_is_an_error_and_its_exception_the_applications(interface):
    with traced():
        response, trace = ask("/broken_sql/", interface)
    assert response.status_code == 200
    query = named(trace, "SELECT nowhere")
    assert query.error == query.attributes["error.type"] == "django.db.utils.OperationalError"
    assert trace.spans[0].error is None
    (event,) = events(trace.spans[0], "log")
    assert event["log.message"] == "No such table"
    assert event["exception.type"] == "django.db.utils.OperationalError"


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_failing_request_keeps_its_exception_and_logs_whatever_the_rate(interface, rate):
    with traced(SAMPLE_RATE=rate):
        response, trace = ask("/failing/" if interface == "WSGI" else "/async_failing/", interface)
    request = trace.spans[0]
    assert response.status_code == 500
    assert request.sampled == (rate == 1.0)
    assert request.error == request.attributes["error.type"] == "ValueError"
    (event,) = events(request, "exception")
    assert event["exception.type"] == "ValueError"
    assert event["exception.message"].startswith("a bug")
    assert "in inner" not in event["exception.message"]
    assert "Traceback" in event["exception.stacktrace"]
    assert "secret" not in event["exception.message"]
    assert "user:secret" not in event["exception.stacktrace"]
    logged = [event["log.message"] for event in events(request, "log")]
    assert logged[0] == "about to fail"
    assert len(trace.spans) == (2 if rate else 1)
    if rate:
        assert named(trace, "inner").error == "ValueError"


def test_an_exception_that_cannot_be_printed_is_recorded(interface):
    with traced():
        response, trace = ask("/unprintable/", interface)
    assert response.status_code == 500
    (event,) = events(trace.spans[0], "exception")
    assert event["exception.type"] == "tests.traced.Unprintable"
    assert "__str__ fails" in event["exception.message"]


def test_a_status_of_500_and_more_is_an_error_without_an_exception():
    with traced(SAMPLE_RATE=0.0):
        _response, trace = ask("/refusing/")
    assert trace.spans[0].error == "503"


def test_a_request_that_the_application_says_has_failed_is_kept():
    with traced(SAMPLE_RATE=0.0):
        response, trace = ask("/marked/")
    assert response.status_code == 200
    assert trace.spans[0].attributes["error.type"] == "shop.SoldOut"


def test_what_matches_no_route_is_no_error_and_has_no_route(interface):
    with traced():
        _response, trace = ask("/nowhere/", interface)
    assert trace.spans[0].name == "GET"
    assert trace.spans[0].error is None
    assert "http.route" not in trace.spans[0].attributes


def test_a_slow_request_is_kept_whatever_the_rate_and_others_are_not():
    with traced(SAMPLE_RATE=0.0, SLOW_SECONDS=0.02):
        response, trace = ask("/slow/")
        assert trace.spans[0].name == "GET /slow/"
        assert not trace.spans[0].sampled
    with traced(SAMPLE_RATE=0.0, SLOW_SECONDS=3600):
        response = Client().get("/queries/")
        assert re.fullmatch("[0-9a-f]{32}", response["X-Trace-ID"])
        assert exported() == []


def test_an_unsampled_request_has_its_ids_in_the_trace_log(tmp_path):
    with traced(SAMPLE_RATE=0.0, TRACE_LOG=tmp_path / "log", TRACE_LOG_FORMAT="json"):
        response = Client().get("/plain/")
    from monitoring.tracelines import parse_line

    assert parse_line((tmp_path / "log").read_text()).trace_id == response["X-Trace-ID"]


def test_log_records_are_events_of_the_span_in_which_they_were_logged(interface):
    with traced():
        _response, trace = ask("/logging_view/", interface)
    request = trace.spans[0]
    logged = events(request, "log")
    assert [event["log.severity"] for event in logged] == ["WARNING", "ERROR"]
    assert logged[0]["log.message"] == "out of stock at https://***@example.com/?***"
    assert "do not fit" in logged[1]["log.message"]
    (inner,) = events(named(trace, "inner"), "log")
    assert inner["log.logger"] == "shop"


@pytest.mark.parametrize(("level", "count"), [(False, 0), ("ERROR", 1), ("INFO", 3)])
def test_from_which_level_on_is_a_setting(level, count, caplog):
    with traced(CAPTURE_LOGS=level), caplog.at_level("INFO", "shop"):
        _response, trace = ask("/logging_view/")
    assert len(events(trace.spans[0], "log")) == count


def test_a_flood_of_logs_is_bounded():
    with traced():
        _response, trace = ask("/log_flood/")
    request = trace.spans[0]
    assert len(request.events) <= spans.MAX_EVENTS
    assert request.dropped_events >= 1000 - spans.MAX_EVENTS
    assert max(len(event["log.message"]) for event in events(request, "log")) <= 1024


def test_a_span_that_is_left_open_ends_with_its_request_and_leaves_nothing_behind(interface):
    with traced():
        response, trace = ask("/left_open/", interface)
        assert response.status_code == 200
        left = named(trace, "left open")
        assert left.attributes["monitoring.unfinished"] is True
        assert left.ended == trace.spans[0].ended
        _response, other = ask("/plain/", interface)
        assert other.spans[0].trace_id != trace.spans[0].trace_id


def test_threads_and_tasks_work_on_the_same_trace():
    with traced():
        response, trace = ask("/threads/")
        assert set(response.json()["ids"]) == {trace.spans[0].trace_id}
        assert sorted(span.name for span in trace.spans[1:]) == [f"in thread {number}" for number in range(4)]
        response, trace = ask("/tasks/", "ASGI")
        assert set(response.json()["ids"]) == {trace.spans[0].trace_id}
        assert {span.parent_span_id for span in trace.spans[1:]} == {trace.spans[0].span_id}


def test_a_continued_trace_names_its_parent_and_carries_tracestate():
    with traced(SAMPLE_RATE=0.0):
        response, trace = ask("/hop/", traceparent=f"00-{'a' * 32}-{'b' * 16}-03", tracestate="x=1")
    span = trace.spans[0]
    assert (span.trace_id, span.parent_span_id, span.tracestate) == ("a" * 32, "b" * 16, "x=1")
    assert response.json() == {
        "traceparent": f"00-{'a' * 32}-{span.span_id}-03",
        "tracestate": "x=1",
        "X-Trace-ID": "a" * 32,
        "X-Span-ID": span.span_id,
    }


def test_without_exporters_nothing_is_kept():
    with override_settings(ROOT_URLCONF="tests.traced", MIDDLEWARE=MIDDLEWARE, MONITORING={"SERVICE_NAME": "shop"}):
        assert Client(raise_request_exception=False).get("/failing/").status_code == 500
        assert "traceparent" in Client().get("/hop/").json()


BROKEN = [{"BACKEND": "tests.traced.RaisingExporter"}, {"BACKEND": "tests.traced.KeepingExporter"}]


def test_an_exporter_that_raises_costs_no_request_and_no_other_exporter(caplog):
    with traced(EXPORTERS=BROKEN):
        for _ in range(3):
            response, trace = ask("/queries/")
            assert response.status_code == 200
            assert len(trace.spans) == 4
    assert caplog.text.count("RaisingExporter failed") == 1


def test_an_exporter_that_hangs_costs_no_request(monkeypatch, caplog):
    monkeypatch.setattr("monitoring.instrument.exporting.MAX_QUEUED", 8)
    HangingExporter.released.clear()
    HangingExporter.entered.clear()
    with traced(EXPORTERS=[{"BACKEND": "tests.traced.HangingExporter"}]):
        client = Client()
        assert client.get("/plain/").status_code == 200
        assert HangingExporter.entered.wait(30)
        for _ in range(20):
            assert client.get("/plain/").status_code == 200
    assert caplog.text.count("HangingExporter does not keep up") == 1
    HangingExporter.released.set()


def test_an_exporter_that_cannot_be_made_costs_no_request(caplog):
    with traced(EXPORTERS=[{"BACKEND": "tests.nowhere.Exporter"}]):
        assert Client().get("/plain/").status_code == 200
    assert "tests.nowhere.Exporter cannot be made" in caplog.text
