from __future__ import annotations

import contextlib
import gc
import json
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from monitoring.collector.sinks.base import PolledInstance, SinkError
from monitoring.collector.sinks.influxdb import InfluxDBSink
from monitoring.conf import InfluxDB

TOKEN = "s3cret-t0ken=="
Answer = tuple[int, dict[str, str], bytes]
NO_CONTENT: Answer = (204, {}, b"")


class Receiver(ThreadingHTTPServer):
    """Answers what it is told to, the last answer again and again, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = [NO_CONTENT]
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.silent = threading.Event()
        self.silent.set()
        self.connections = 0
        self.ended = threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def lines(self) -> list[int]:
        return [body.count(b"\n") + 1 for _path, _headers, body in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def finish(self) -> None:
        super().finish()
        self.server.ended.release()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), body))
        self.server.silent.wait(30)
        status, headers, answer = self.server.answers[0]
        if len(self.server.answers) > 1:
            self.server.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the base class's name)
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.silent.set()
    server.shutdown()
    thread.join()
    server.server_close()


def sink(url: str, token: str = TOKEN, **options: Any) -> InfluxDBSink:
    return InfluxDBSink(InfluxDB(url, token, "my org", "fleet"), **options)


def polled(number: int = 1) -> list[PolledInstance]:
    moment = datetime(2026, 11, 22, tzinfo=timezone.utc)
    return [PolledInstance("shop", f"host{one}:80", moment, 0.1, "it refused", None, None) for one in range(number)]


def failure(one: InfluxDBSink, number: int = 1) -> str:
    with pytest.raises(SinkError) as caught:
        one.write(polled(number))
    message = str(caught.value)
    assert TOKEN not in message
    assert "\n" not in message
    assert len(message) < 700
    return message


def test_points_arrive_with_token_bucket_org_and_precision(receiver: Receiver) -> None:
    sink(receiver.url).write(polled(2))
    ((path, headers, body),) = receiver.requests
    assert urlsplit(path).path == "/api/v2/write"
    assert parse_qs(urlsplit(path).query) == {"org": ["my org"], "bucket": ["fleet"], "precision": ["ms"]}
    assert headers["Authorization"] == f"Token {TOKEN}"
    assert body.decode().splitlines()[1] == (
        'monitoring_poll,instance=host1:80,service=shop up=0i,poll_duration=0.1,error="it refused" 1795305600000'
    )


def test_no_token_sends_no_authorization(receiver: Receiver) -> None:
    sink(receiver.url, token="").write(polled())
    assert "Authorization" not in receiver.requests[0][1]


def test_a_url_may_carry_a_path(receiver: Receiver) -> None:
    sink(receiver.url + "/influx/").write(polled())
    assert receiver.requests[0][0].startswith("/influx/api/v2/write?")


def test_batches_are_bounded(receiver: Receiver) -> None:
    sink(receiver.url).write(polled(5001))
    assert receiver.lines == [5000, 1]
    assert receiver.connections == 1


def test_nothing_polled_sends_nothing(receiver: Receiver) -> None:
    sink(receiver.url).write([])
    assert receiver.connections == 0


def answered(message: str, code: str = "invalid") -> bytes:
    return json.dumps({"code": code, "message": message}).encode()


HTML = b"<!DOCTYPE html><html><body>" + b"x" * 100_000


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((401, {}, answered("unauthorized access")), ["401", "INFLUXDB['TOKEN']", "unauthorized access"]),
        ((403, {}, answered("insufficient permissions")), ["INFLUXDB['TOKEN']", "'fleet'", "permission"]),
        ((404, {}, answered('bucket "fleet" not found')), ["INFLUXDB['BUCKET'] ('fleet')", "INFLUXDB['ORG'] ('my org')"]),
        ((404, {}, answered('organization name "my org" not found')), ["INFLUXDB['ORG'] ('my org')"]),
        ((404, {}, b'{"error":"database not found: \\"fleet\\""}\n'), ["INFLUXDB['BUCKET']", ': database not found: "fleet".']),
        ((404, {}, b"404 page not found\n"), ["INFLUXDB['URL']", "404 page not found"]),
        ((404, {}, HTML), ["INFLUXDB['URL']", "web page"]),
        ((403, {}, HTML), ["INFLUXDB['URL']", "web page"]),
        ((405, {}, b""), ["INFLUXDB['URL']"]),
        ((200, {"Content-Type": "text/html"}, HTML), ["INFLUXDB['URL']", "web page"]),
        ((302, {"Location": "/login"}, b""), ["redirect to /login", "INFLUXDB['URL']"]),
        ((307, {"Location": "https://influx.example/api/v2/write"}, b""), ["redirect to https://influx.example"]),
        ((400, {}, answered("unable to parse 'shop': missing fields")), ["400", "unable to parse 'shop': missing fields"]),
        ((422, {}, answered('field type conflict: input field "count"')), ["422", "field type conflict"]),
        ((400, {}, b'["odd"]'), ['["odd"]']),
        ((400, {}, b"\x1b[31m" + b"y" * 100_000), ["400", "[31myyy", "…"]),
        ((400, {}, answered(f"who sends {TOKEN}?")), ["who sends ***?"]),
        ((413, {}, answered("request too large")), ["413", "request too large"]),
        ((429, {"Retry-After": "30"}, answered("too many")), ["overloaded", "30 s"]),
        ((503, {}, b""), ["503", "overloaded or starting"]),
        ((502, {}, HTML), ["502", "proxy", "Is InfluxDB running?"]),
        ((500, {}, answered("internal error", "internal error")), ["500", "internal error", "log of InfluxDB"]),
        ((500, {}, b"\xff\xfe not text"), ["does not talk as InfluxDB does"]),
    ],
)
def test_the_message_says_which_setting_is_wrong(receiver: Receiver, answer: Answer, expected: list[str]) -> None:
    receiver.answers = [answer]
    message = failure(sink(receiver.url))
    assert all(part in message for part in expected), message
    assert message.endswith((".", "?"))
    assert len(receiver.requests) == 1  # neither a retry nor a redirect that carries the token along


def test_401_without_a_token_asks_for_one(receiver: Receiver) -> None:
    receiver.answers = [(401, {}, answered("unauthorized"))]
    assert "set INFLUXDB['TOKEN']" in failure(sink(receiver.url, token=""))


def test_refused_points_cost_their_batch_only(receiver: Receiver) -> None:
    receiver.answers = [NO_CONTENT, (400, {}, answered("odd point")), NO_CONTENT]
    message = failure(sink(receiver.url, batch_size=2), 5)
    assert receiver.lines == [2, 2, 1]
    assert "odd point" in message
    assert "3 other points were written" in message


def test_after_any_other_failure_the_rest_is_not_tried(receiver: Receiver) -> None:
    receiver.answers = [NO_CONTENT, (503, {}, b""), NO_CONTENT]
    assert "2 other points were written" in failure(sink(receiver.url, batch_size=2), 6)
    assert receiver.lines == [2, 2]


def test_a_server_that_does_not_answer_is_given_up(receiver: Receiver) -> None:
    receiver.silent.clear()
    assert "did not answer within 0.2 seconds" in failure(sink(receiver.url, timeout=0.2))


def test_connection_refused() -> None:
    with socket.socket() as bound:  # bound, but not listening: nobody else can take the port meanwhile
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        message = failure(sink(f"http://user:hidden@{address}"))
    assert f"InfluxDB at http://{address} cannot be reached" in message
    assert "refused" in message
    assert "INFLUXDB['URL']" in message
    assert "hidden" not in message


def test_a_server_that_is_not_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            connection, _address = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        message = failure(sink(f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()
    assert "does not talk as InfluxDB does" in message


def test_https_to_a_plain_server_names_the_url(receiver: Receiver) -> None:
    assert "INFLUXDB['URL']" in failure(sink(receiver.url.replace("http", "https")))


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "http://exa mple", "http://host:99999", "http://host:port", "http://.", "http://\x00", "http://é\ud800"],
)
def test_an_odd_url_is_an_error_with_a_name(url: str) -> None:
    assert "INFLUXDB['URL']" in failure(sink(url))


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "naïve", "\x7f"])
def test_a_token_that_no_header_carries_is_refused_unseen(receiver: Receiver, token: str) -> None:
    message = failure(sink(receiver.url, token=token))
    assert "INFLUXDB['TOKEN']" in message
    assert token not in message
    assert receiver.connections == 0


def test_no_connection_or_thread_is_left(receiver: Receiver) -> None:
    before = threading.enumerate()
    gc.collect()  # what other tests left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for answer in (NO_CONTENT, (400, {}, b"no"), (503, {}, b"later")):
            receiver.answers = [answer]
            held = pytest.raises(SinkError) if answer is not NO_CONTENT else contextlib.nullcontext()
            with held:
                sink(receiver.url).write(polled())
            assert receiver.ended.acquire(timeout=10), "the connection is still open"
        gc.collect()
    assert [one for one in caught if issubclass(one.category, ResourceWarning)] == []
    left = [one.name for one in threading.enumerate() if one not in before]
    assert [name for name in left if "process_request_thread" not in name] == []  # the receiver's own may still be ending


def test_the_client_is_imported_only_to_write() -> None:
    code = "import monitoring.collector.sinks.influxdb, sys; assert not {'influxdb_client', 'urllib3'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "influxdb_client.client.influxdb_client", None)
    assert "pip install 'django-fleet-monitoring[monitor]'" in failure(sink("http://127.0.0.1:1"))
