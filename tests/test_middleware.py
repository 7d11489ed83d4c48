"""Both middlewares, under WSGI's and ASGI's handlers, and what they must never do to a request."""

import asyncio
import contextlib
import itertools
import json
import re
from http import HTTPStatus

import pytest
from asgiref.sync import iscoroutinefunction
from django.core.exceptions import MiddlewareNotUsed
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings

from monitoring import service
from monitoring.conf import conf
from monitoring.instrument import tracing
from monitoring.middleware import MetricsMiddleware, TracingMiddleware

names = (f"service-{number}" for number in itertools.count())


@pytest.fixture
def watched():
    """Settings of a watched service with counters of its own."""
    overridden = override_settings(
        ROOT_URLCONF="tests.watched",
        MIDDLEWARE=["monitoring.middleware.MetricsMiddleware", "monitoring.middleware.TracingMiddleware"],
        MONITORING={"SERVICE_NAME": next(names), "METRICS_PUBLIC": True},
    )
    with overridden:
        yield


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


@pytest.fixture
def aclient():
    return AsyncClient(raise_request_exception=False)


def counted():
    return {key: one.status_codes for key, one in service.request_metrics().snapshot().endpoints.items()}


def active():
    return service.request_metrics().snapshot().active_requests


REQUESTS = [
    ("GET", "/items/1/", "GET/items/<int:pk>/", 200),
    ("GET", "/items/2/", "GET/items/<int:pk>/", 200),
    ("POST", "/items/2/", "POST/items/<int:pk>/", 200),
    ("GET", "/failing/", "GET/failing/", 500),
    ("GET", "/async-failing/", "GET/async-failing/", 500),
    ("GET", "/articles/2026/a-b/", "GET/articles/<year>/<slug>/", 200),
    ("GET", "/nested/2026/page-3/", "GET/nested/<year>/", 200),
    ("GET", "/nested/plain/", "GET/nested/plain/", 200),
    ("GET", "/streaming/", "GET/streaming/", 200),
    ("GET", "/nowhere/", "GET/unknown", 404),
    ("GET", "/nowhere/else/", "GET/unknown", 404),
    ("INVENTED", "/items/1/", "_OTHER/items/<int:pk>/", 200),
    ("ALSO", "/items/1/", "_OTHER/items/<int:pk>/", 200),
]


def expected():
    counts = {}
    for _method, _path, key, status in REQUESTS:
        codes = counts.setdefault(key, {})
        codes[status] = codes.get(status, 0) + 1
    return counts


def test_requests_are_counted_by_method_and_route(watched, client):
    for method, path, _key, status in REQUESTS:
        assert client.generic(method, path).status_code == status
    assert counted() == expected()
    assert active() == 0


async def many(aclient):
    for method, path, _key, status in REQUESTS:
        assert (await aclient.generic(method, path)).status_code == status


def test_requests_are_counted_under_asgi(watched, aclient):
    asyncio.run(many(aclient))
    assert counted() == expected()
    assert active() == 0


def test_the_metrics_view_does_not_count_itself(watched, client):
    assert client.get("/metrics").status_code == 200
    assert counted() == {}


def test_the_metrics_view_is_counted_where_asked(watched, client):
    with override_settings(MONITORING={"SERVICE_NAME": next(names), "METRICS_PUBLIC": True, "COUNT_METRICS_VIEW": True}):
        client.get("/metrics")
        assert counted() == {"GET/metrics": {200: 1}}


def streamed():
    endpoint = service.request_metrics().snapshot().endpoints["GET/unknown"]
    return endpoint.count, endpoint.stream_count, endpoint.stream_duration_max > endpoint.duration_max


@pytest.mark.django_db  # close() is the end of a request, at which Django looks after its connections
def test_the_end_of_a_stream_is_timed_apart(watched, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    closed = []
    response = StreamingHttpResponse(iter([b"a", b"b"]))
    response._resource_closers.append(lambda: closed.append("resource"))
    answer = MetricsMiddleware(lambda request: response)(RequestFactory().get("/"))
    assert answer is response
    assert streamed() == (1, 0, False)
    assert b"".join(answer) == b"ab"
    answer.close()
    answer.close()
    assert streamed() == (1, 1, True)
    assert closed == ["resource"]

    async def chunks():
        yield b"a"

    async def ask():
        response = StreamingHttpResponse(chunks())

        async def view(request):
            return response

        answer = await MetricsMiddleware(view)(RequestFactory().get("/"))
        assert [chunk async for chunk in answer] == [b"a"]
        answer.close()

    asyncio.run(ask())
    assert streamed() == (2, 2, True)

    file = FileResponse((tmp_path / "file").open("rb"))
    answer = MetricsMiddleware(lambda request: file)(RequestFactory().get("/"))
    assert answer.file_to_stream is not None  # what lets a server send the file by itself
    answer.close()
    assert answer.file_to_stream.closed
    assert streamed() == (3, 3, True)


def test_a_stream_that_breaks_at_its_end_still_counts(watched):
    response = StreamingHttpResponse(iter([b"a"]))

    def broken():
        raise OSError("the file server is gone")

    response.close = broken
    answer = MetricsMiddleware(lambda request: response)(RequestFactory().get("/"))
    with pytest.raises(OSError, match="is gone"):
        answer.close()
    assert streamed() == (1, 1, True)


def test_a_scanner_makes_no_keys(watched, client):
    for number in range(500):
        client.generic(f"M{number}", f"/{number}")
    assert counted() == {"_OTHER/unknown": {404: 500}}
    assert sum(len(methods) for methods in service.request_metrics().open().rows.values()) == 0


def test_a_view_that_sees_its_span_sees_what_the_response_names(watched, client):
    response = client.get("/span/")
    assert response.content.decode() == f"{response['X-Trace-ID']} {response['X-Span-ID']}"
    assert tracing.current_span() is None


def test_under_asgi_sync_and_async_views_see_their_span(watched, aclient):
    async def ask():
        for path in ("/span/", "/async-span/"):
            response = await aclient.get(path)
            assert response.content.decode() == f"{response['X-Trace-ID']} {response['X-Span-ID']}"
        responses = await asyncio.gather(*(aclient.get("/async-span/") for _ in range(20)))
        assert len({response["X-Trace-ID"] for response in responses}) == 20

    asyncio.run(ask())


def test_a_trace_is_continued(watched, client):
    trace = "8678e9fe-fec5-4a2f-9db1-9906b06c4dc8"
    response = client.get("/span/", headers={"X-Trace-ID": trace, "X-Span-ID": "d87e8bb6-9fb5-4422-98e4-56413d4a4faf"})
    assert response["X-Trace-ID"] == trace
    assert response.content.decode().split()[0] == trace.replace("-", "")


def test_every_request_writes_one_line(tmp_path, client, aclient, watched):
    log = tmp_path / "trace.log"
    with override_settings(MONITORING={"SERVICE_NAME": next(names), "TRACE_LOG": log, "METRICS_PUBLIC": True}):
        for path in ("/items/1/", "/failing/", "/a%0AService: forged", "/items/1/?secret=1"):
            client.get(path)
        asyncio.run(aclient.get("/async-span/"))
        service_name = conf.SERVICE_NAME
    lines = log.read_text().splitlines()
    assert len(lines) == 5
    assert [re.search(r"Path: (.*), Duration: \S+, Status: (\d+)$", line).groups() for line in lines] == [
        ("/items/1/", "200"),
        ("/failing/", "500"),
        ("/a%0AService: forged", "404"),
        ("/items/1/", "200"),
        ("/async-span/", "200"),
    ]
    assert all(f" Service: {service_name}, " in line for line in lines)
    assert "secret" not in log.read_text()


def test_excluded_paths_are_neither_counted_nor_traced(watched, client):
    with override_settings(MONITORING={"SERVICE_NAME": next(names), "EXCLUDE_PATHS": [r"/span/$", "/items"]}):
        assert "X-Trace-ID" not in client.get("/span/")
        client.get("/items/1/")
        assert "X-Trace-ID" in client.get("/streaming/")
        assert counted() == {"GET/streaming/": {200: 1}}


def test_a_cancelled_request_is_counted_and_leaves_nothing_behind(watched):
    async def hang(request):
        await asyncio.Event().wait()

    async def cancel():
        request = RequestFactory().get("/hanging/")
        task = asyncio.ensure_future(MetricsMiddleware(TracingMiddleware(hang))(request))
        for _ in range(3):
            await asyncio.sleep(0)
        assert active() == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert counted() == {"GET/unknown": {499: 1}}
    assert active() == 0


@pytest.mark.parametrize("middleware", [MetricsMiddleware, TracingMiddleware])
def test_a_middleware_is_native_on_both_sides(watched, middleware):
    async def asynchronous(request):
        return HttpResponse()

    assert iscoroutinefunction(middleware(asynchronous))
    assert not iscoroutinefunction(middleware(lambda request: HttpResponse()))
    assert middleware.sync_capable
    assert middleware.async_capable


@pytest.mark.parametrize("middleware", [MetricsMiddleware, TracingMiddleware])
def test_exceptions_pass_through_unchanged_and_count_once(watched, middleware):
    error = KeyError("x")

    def failing(request):
        raise error

    async def async_failing(request):
        raise error

    request = RequestFactory().get("/")
    with pytest.raises(KeyError) as caught:
        middleware(failing)(request)
    assert caught.value is error
    with pytest.raises(KeyError):
        asyncio.run(middleware(async_failing)(request))
    if middleware is MetricsMiddleware:
        assert counted() == {"GET/unknown": {500: 2}}
    assert tracing.current_span() is None


@pytest.mark.parametrize("middleware", [MetricsMiddleware, TracingMiddleware])
def test_disabled_it_takes_itself_out(middleware):
    with override_settings(MONITORING={"ENABLED": False}), pytest.raises(MiddlewareNotUsed):
        middleware(lambda request: HttpResponse())


class Hostile:
    """A response whose headers cannot be set, and a status that is none."""

    status_code = "teapot"

    @property
    def headers(self):
        raise RuntimeError("no headers")


def test_what_breaks_in_here_is_logged_once_and_never_reaches_the_application(watched, caplog, tmp_path):
    response = Hostile()
    with override_settings(MONITORING={"SERVICE_NAME": next(names), "TRACE_LOG": tmp_path / "missing" / "log"}):
        tracer = TracingMiddleware(lambda request: response)
        meter = MetricsMiddleware(tracer)
        for _ in range(3):
            assert meter(RequestFactory().get("/")) is response
        assert active() == 0
    assert caplog.text.count("A response could not name its trace") == 1
    assert caplog.text.count("cannot be written") == 1


def test_counters_that_cannot_be_opened_cost_no_request(watched, caplog, monkeypatch):
    meter = MetricsMiddleware(lambda request: HttpResponse("fine"))

    def broken():
        raise MemoryError

    monkeypatch.setattr(meter.metrics, "open", broken)
    for _ in range(3):
        assert meter(RequestFactory().get("/")).content == b"fine"
    assert caplog.text.count("MetricsMiddleware failed") == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_TRACEPARENT": "x" * 1_000_000},
        {"HTTP_TRACEPARENT": "00-ü\r\n"},
        {"HTTP_TRACEPARENT": None},
        {"HTTP_X_TRACE_ID": 3},
        {"HTTP_X_TRACE_ID": "a\r\nSet-Cookie: x=1", "HTTP_X_SPAN_ID": "b\nc"},
    ],
)
def test_hostile_headers_start_a_new_trace(watched, headers):
    request = RequestFactory().get("/")
    request.META.update(headers)
    response = TracingMiddleware(lambda request: HttpResponse())(request)
    assert re.fullmatch("[0-9a-f]{32}", response["X-Trace-ID"])


def test_a_fork_in_the_middle_of_a_request_counts_once(watched):
    def fork(request):
        meter.metrics.table.pid -= 1
        meter.metrics._forget()
        return HttpResponse()

    meter = MetricsMiddleware(fork)
    meter(RequestFactory().get("/"))
    assert counted() == {}


def test_counters_that_move_in_the_middle_of_a_request_count_it(watched):
    meter = MetricsMiddleware(lambda request: meter.metrics._forget() or HttpResponse())
    meter(RequestFactory().get("/"))
    assert counted() == {"GET/unknown": {200: 1}}
    assert active() == 0


def test_a_status_from_an_enumeration_is_counted_as_what_it_is(watched):
    response = HttpResponse()
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    MetricsMiddleware(lambda request: response)(RequestFactory().get("/"))
    assert counted() == {"GET/unknown": {503: 1}}


def test_a_status_that_cannot_be_looked_up_leaves_no_active_request(watched, caplog):
    response = HttpResponse()
    response.status_code = []
    MetricsMiddleware(lambda request: response)(RequestFactory().get("/"))
    assert active() == 0
    assert "failed" in caplog.text


class BrokenMatch:
    """As a resolver of one's own could make: its route cannot be told."""

    @property
    def route(self):
        raise RuntimeError("no route")


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_endpoint_that_cannot_be_found_leaves_no_active_request(watched, caplog, is_async, raises):
    def view(request):
        request.resolver_match = BrokenMatch()
        if raises:
            raise KeyError
        return HttpResponse("fine")

    async def aview(request):
        return view(request)

    for _ in range(2):
        request = RequestFactory().get("/")
        with pytest.raises(KeyError) if raises else contextlib.nullcontext():
            if is_async:
                assert asyncio.run(MetricsMiddleware(aview)(request)).content == b"fine"
            else:
                assert MetricsMiddleware(view)(request).content == b"fine"
    assert active() == 0
    assert counted() == {}
    assert "no route" in caplog.text


def test_a_stream_that_cannot_be_watched_reaches_the_caller_and_counts_once(watched, caplog):
    class Sealed(StreamingHttpResponse):
        def __setattr__(self, name, value):
            if name == "close":
                raise AttributeError(name)
            super().__setattr__(name, value)

    response = Sealed(["x"])
    assert MetricsMiddleware(lambda request: response)(RequestFactory().get("/")) is response
    assert counted() == {"GET/unknown": {200: 1}}
    assert active() == 0
    assert len(caplog.records) == 1


def test_what_is_no_response_reaches_the_caller_and_leaves_no_active_request(watched):
    assert MetricsMiddleware(lambda request: None)(RequestFactory().get("/")) is None
    assert active() == 0


def test_a_test_run_leaves_no_files(watched):
    assert service.request_metrics().state_dir is None


def test_the_document_is_served(watched, client):
    client.get("/items/1/")
    response = client.get("/metrics")
    document = json.loads(response.content)
    assert response["Content-Type"] == "application/json"
    assert "no-cache" in response["Cache-Control"]
    assert document["service_name"] == conf.SERVICE_NAME
    assert document["metrics"]["GET/items/<int:pk>/"]["count"] == 1
    assert document["workers"] == 1
