"""TracingSession, against a real HTTP server that shows the headers it got."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from requests.adapters import HTTPAdapter

from monitoring.instrument import tracing
from monitoring.instrument.outgoing import TracingAdapter, TracingSession, call_span, trace_headers
from monitoring.instrument.spans import Options, RequestSpan


class Mirror(BaseHTTPRequestHandler):
    """Answers with the headers it got; /to/HOST redirects there, /status/CODE answers so."""

    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", f"http://{self.path[4:]}:{self.server.server_port}/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path.startswith("/status/"):
            self.send_response(int(self.path[8:]))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = json.dumps(dict(self.headers)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def port():
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def recording():
    """A request span that keeps what happens within it."""
    current = RequestSpan("a" * 32, "b" * 16, Options(exports=True))
    current.keep_children()
    token = tracing.make_current(current)
    yield current
    tracing.restore(token)


@pytest.fixture
def span():
    span = RequestSpan("a" * 32, "b" * 16)
    span.trace_id_as_received = "A" * 32
    token = tracing.make_current(span)
    yield span
    tracing.restore(token)


def test_calls_carry_the_trace(port, span):
    with TracingSession() as session:
        first, second = (session.get(f"http://127.0.0.1:{port}/").json() for _ in range(2))
    assert first["X-Trace-ID"] == "A" * 32
    assert first["X-Span-ID"] == span.span_id
    assert first["traceparent"].startswith(f"00-{span.trace_id}-")
    assert first["traceparent"] != second["traceparent"]


def test_outside_a_request_it_is_a_plain_session(port):
    with TracingSession() as session:
        assert "traceparent" not in session.get(f"http://127.0.0.1:{port}/").json()


def test_the_callers_headers_and_requests_stay_as_they_were(port, span):
    headers = {"X-Own": "1"}
    with TracingSession() as session:
        session.get(f"http://127.0.0.1:{port}/", headers=headers)
        prepared = requests.Request("GET", f"http://127.0.0.1:{port}/", headers=headers).prepare()
        assert "traceparent" in session.send(prepared).json()
        assert "traceparent" not in session.headers
    assert headers == {"X-Own": "1"}
    assert "traceparent" not in prepared.headers


def kept(span):
    return [(child.name, child.error, child.attributes["url.full"]) for child in span.children]


def test_a_call_is_a_span_and_the_headers_name_it(port, recording):
    url = f"http://127.0.0.1:{port}/"
    with TracingSession() as session, tracing.span("inner") as inner:
        arrived = session.get(url + "?secret=1", auth=("user", "secret")).json()
    call = recording.children[1]
    assert arrived["traceparent"] == f"00-{'a' * 32}-{call.span_id}-03"
    assert arrived["X-Span-ID"] == recording.span_id
    assert (call.name, call.kind, call.parent_span_id, call.error) == ("GET", "client", inner.span_id, None)
    assert call.attributes == {
        "http.request.method": "GET",
        "url.full": url,
        "server.address": "127.0.0.1",
        "server.port": port,
        "http.response.status_code": 200,
    }
    assert call.ended is not None


def test_each_redirect_is_a_call_of_its_own(port, recording):
    with TracingSession() as session:
        session.get(f"http://127.0.0.1:{port}/to/127.0.0.1")
    assert kept(recording) == [
        ("GET", None, f"http://127.0.0.1:{port}/to/127.0.0.1"),
        ("GET", None, f"http://127.0.0.1:{port}/"),
    ]
    assert {call.parent_span_id for call in recording.children} == {recording.span_id}


def test_calls_that_fail_are_errors(port, recording):
    with TracingSession() as session:
        session.get(f"http://127.0.0.1:{port}/status/404")
        session.request("BREW", f"http://127.0.0.1:{port}/")
        with pytest.raises(requests.ConnectionError):
            session.get("http://user:secret@127.0.0.1:1/x?secret=1")
    assert kept(recording) == [
        ("GET", "404", f"http://127.0.0.1:{port}/status/404"),
        ("HTTP", "501", f"http://127.0.0.1:{port}/"),
        ("GET", "requests.exceptions.ConnectionError", "http://127.0.0.1:1/x"),
    ]
    (event,) = recording.children[2].events
    assert "secret" not in str(event.attributes)
    assert tracing.current_span() is recording


def test_an_adapter_makes_ones_own_session_carry_the_trace(port, recording):
    class Retrying(HTTPAdapter):
        sent = 0

        def send(self, *args, **kwargs):
            self.sent += 1
            return super().send(*args, **kwargs)

    inner = Retrying()
    with requests.Session() as session:
        session.mount("http://", TracingAdapter(inner))
        arrived = session.get(f"http://127.0.0.1:{port}/").json()
        with requests.Session() as plain:
            assert "traceparent" not in plain.get(f"http://127.0.0.1:{port}/").json()
    assert arrived["traceparent"].split("-")[2] == recording.children[0].span_id
    assert inner.sent == 1


def test_a_session_with_an_adapter_of_its_own_uses_it_once(port, recording):
    with TracingSession() as session:
        session.mount("http://", TracingAdapter())
        session.get(f"http://127.0.0.1:{port}/")
    assert len(recording.children) == 1


def test_headers_of_this_trace_that_the_caller_passes_on_stay_from_hosts_that_must_not_see_them(port, recording):
    recording.options = Options(propagate_to=("example.com",), exports=True)
    own = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "X-Trace-ID": "a" * 32, "X-Span-ID": "b" * 16}
    others = {"X-Trace-ID": "c" * 32}
    with TracingSession() as session:
        assert not set(own) & set(session.get(f"http://127.0.0.1:{port}/", headers=own).json())
        assert session.get(f"http://127.0.0.1:{port}/", headers=others).json()["X-Trace-ID"] == "c" * 32
    assert len(recording.children) == 2


def test_another_client_gets_its_headers(recording):
    with call_span("POST", "https://shop.example.com/pay?card=1") as call:
        headers = trace_headers("https://shop.example.com/pay")
        call.set_status(500)
    (made,) = recording.children
    assert headers["traceparent"].split("-")[2] == made.span_id
    assert headers["X-Span-ID"] == recording.span_id
    assert (made.name, made.error, made.attributes["server.port"]) == ("POST", "500", 443)


def test_headers_without_a_call_span_name_the_current_one(recording):
    assert trace_headers("http://example.com/")["traceparent"].split("-")[2] == recording.span_id
    recording.options = Options(propagate_to=())
    assert trace_headers("http://example.com/") == {}


def test_outside_a_request_there_are_no_headers_and_no_call_spans():
    assert trace_headers("http://example.com/") == {}
    with call_span("GET", "http://example.com/") as call:
        call.set_status(200)
    assert tracing.current_span() is None


@pytest.mark.parametrize(
    "url", [None, b"http://example.com/", 3, "", "http://[", "http://example.com:port/", "x" * 100_000, "\udc80"]
)
def test_a_url_of_whatever_kind_costs_no_call(recording, url, caplog):
    with call_span("GET", url):
        assert trace_headers(url)
    assert caplog.text == ""


def test_an_unsampled_trace_is_carried_on_as_such(port):
    current = RequestSpan("a" * 32, "b" * 16, Options(exports=True))
    current.sampled = False
    token = tracing.make_current(current)
    with TracingSession() as session:
        assert session.get(f"http://127.0.0.1:{port}/").json()["traceparent"].endswith("-02")
    tracing.restore(token)


def test_a_redirect_takes_the_trace_to_allowed_hosts_only(port, span):
    span.options = Options(propagate_to=("127.0.0.1",))
    with TracingSession() as session:
        assert "traceparent" in session.get(f"http://127.0.0.1:{port}/to/127.0.0.1").json()
        arrived = session.get(f"http://127.0.0.1:{port}/to/localhost").json()
    assert not {"traceparent", "X-Trace-ID", "X-Span-ID"} & set(arrived)
