"""TracingSession, against a real HTTP server that shows the headers it got."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from monitoring.instrument import tracing
from monitoring.instrument.outgoing import TracingSession


class Mirror(BaseHTTPRequestHandler):
    """Answers with the headers it got; /to/HOST redirects there."""

    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", f"http://{self.path[4:]}:{self.server.server_port}/")
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
def span():
    span = tracing.Span("a" * 32, "b" * 16, trace_id_as_received="A" * 32)
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


def test_a_redirect_takes_the_trace_to_allowed_hosts_only(port, span):
    span.propagate_to = ("127.0.0.1",)
    with TracingSession() as session:
        assert "traceparent" in session.get(f"http://127.0.0.1:{port}/to/127.0.0.1").json()
        arrived = session.get(f"http://127.0.0.1:{port}/to/localhost").json()
    assert not {"traceparent", "X-Trace-ID", "X-Span-ID"} & set(arrived)
