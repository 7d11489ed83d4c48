"""InfluxDB as a sink: what it sends, what its answers mean, and that nothing a server does holds or fills the collector."""

from __future__ import annotations

import gc
import json
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from monitoring.collector import points
from monitoring.collector.sinks.base import Failure, Fault
from monitoring.collector.sinks.influxdb import InfluxDBSink
from monitoring.conf import InfluxDB
from tests.receiver import NO_CONTENT, Answer, Receiver, running_receiver
from tests.scripted import ScriptedServer, drips, says

TOKEN = "s3cret-t0ken=="
LINES = ["monitoring_poll,service=shop up=1i 1795305600000", "shop,path=GET/ count=3i 1795305600000"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as server:
        yield server


def sink(url: str, token: str = TOKEN, **options: Any) -> InfluxDBSink:
    return InfluxDBSink(InfluxDB(url, token, "my org", "fleet", **options))


def send(one: InfluxDBSink, lines: list[str] = LINES) -> Failure | None:
    with one.open() as connection:
        return connection.send(lines)


def failure(one: InfluxDBSink) -> Failure:
    found = send(one)
    assert found is not None
    for said in (found.reason, found.words):
        assert TOKEN not in said
        assert "\n" not in said
        assert len(said) < 700
    return found


def test_points_arrive_with_token_bucket_org_and_precision(receiver: Receiver) -> None:
    assert send(sink(receiver.url)) is None
    ((path, headers, lines),) = receiver.requests
    assert urlsplit(path).path == "/api/v2/write"
    assert parse_qs(urlsplit(path).query) == {"org": ["my org"], "bucket": ["fleet"], "precision": [points.PRECISION]}
    assert headers["Authorization"] == f"Token {TOKEN}"
    assert headers["Content-Encoding"] == "gzip"
    assert lines == LINES


def test_no_token_sends_no_authorization(receiver: Receiver) -> None:
    assert send(sink(receiver.url, token="")) is None
    assert "Authorization" not in receiver.requests[0].headers


def test_a_url_may_carry_a_path(receiver: Receiver) -> None:
    assert send(sink(receiver.url + "/influx/")) is None
    assert receiver.requests[0].path.startswith("/influx/api/v2/write?")


def test_requests_share_a_connection(receiver: Receiver) -> None:
    with sink(receiver.url).open() as connection:
        assert [connection.send(LINES) for _ in range(3)] == [None] * 3
    assert receiver.connections == 1


def test_nothing_sent_connects_to_nothing(receiver: Receiver) -> None:
    with sink(receiver.url).open():
        pass
    assert receiver.connections == 0


def answered(message: str, code: str = "invalid") -> bytes:
    return json.dumps({"code": code, "message": message}).encode()


HTML = b"<!DOCTYPE html><html><body>" + b"x" * 100_000


S, P, U = Fault.SETTING, Fault.POINTS, Fault.UNREACHABLE


@pytest.mark.parametrize(
    ("answer", "fault", "expected"),
    [
        ((401, {}, answered("unauthorized access")), S, ["401", "INFLUXDB['TOKEN']", "unauthorized access"]),
        ((403, {}, answered("insufficient permissions")), S, ["INFLUXDB['TOKEN']", "'fleet'", "permission"]),
        ((404, {}, answered('bucket "fleet" not found')), S, ["INFLUXDB['BUCKET'] ('fleet')", "INFLUXDB['ORG'] ('my org')"]),
        ((404, {}, answered('organization name "my org" not found')), S, ["INFLUXDB['ORG'] ('my org')"]),
        (
            (404, {}, b'{"error":"database not found: \\"fleet\\""}\n'),
            S,
            ["INFLUXDB['BUCKET']", ': database not found: "fleet".'],
        ),
        ((404, {}, b"404 page not found\n"), S, ["INFLUXDB['URL']", "404 page not found"]),
        ((404, {}, HTML), S, ["INFLUXDB['URL']", "web page"]),
        ((403, {}, HTML), S, ["INFLUXDB['URL']", "web page"]),
        ((400, {}, HTML), S, ["INFLUXDB['URL']", "web page"]),
        ((405, {}, b""), S, ["INFLUXDB['URL']"]),
        ((200, {"Content-Type": "text/html"}, HTML), S, ["INFLUXDB['URL']", "web page"]),
        ((302, {"Location": "/login"}, b""), S, ["redirect to /login", "INFLUXDB['URL']"]),
        ((307, {"Location": "https://influx.example/api/v2/write"}, b""), S, ["redirect to https://influx.example"]),
        ((400, {}, answered("Please provide either orgID or org")), S, ["INFLUXDB['ORG']"]),
        ((400, {}, answered("unable to parse 'shop': missing fields")), P, ["400", "unable to parse 'shop': missing fields"]),
        ((400, {}, answered("unable to parse 'a,route=/bucket/required b=1': bucket not found")), P, ["400"]),
        ((422, {}, answered('field type conflict: input field "count"')), P, ["422", "field type conflict"]),
        ((201, {}, answered("1 of 2 points rejected")), P, ["201", "1 of 2 points rejected"]),
        ((400, {}, b'["odd"]'), P, ['["odd"]']),
        ((400, {}, b""), P, ["400"]),
        ((400, {}, b"\x1b[31m" + b"y" * 100_000), P, ["400", "[31myyy", "…"]),
        ((400, {}, answered(f"who sends {TOKEN}?")), P, ["who sends ***?"]),
        ((413, {}, answered("request too large")), Fault.SIZE, ["413", "request too large"]),
        ((413, {}, HTML), Fault.SIZE, ["413", "proxy"]),
        ((429, {"Retry-After": "30"}, answered("too many")), U, ["overloaded", "30 s"]),
        ((503, {}, b""), U, ["503", "overloaded or starting"]),
        ((503, {}, HTML), U, ["503", "proxy"]),
        ((502, {}, HTML), U, ["502", "proxy", "Is InfluxDB running?"]),
        ((500, {}, answered("internal error", "internal error")), U, ["500", "internal error", "log of InfluxDB"]),
        ((500, {}, b"\xff\xfe not text"), U, ["500", "not text"]),
    ],
)
def test_an_answer_says_what_to_do(receiver: Receiver, answer: Answer, fault: Fault, expected: list[str]) -> None:
    receiver.answers = [answer]
    found = failure(sink(receiver.url))
    assert found.fault is fault, found
    assert all(part in found.reason for part in expected), found.reason
    assert found.reason.endswith((".", "?"))
    assert bool(found.words) == (fault in (P, Fault.SIZE)) or answer[2] == HTML
    assert len(receiver.requests) == 1  # neither a retry nor a redirect that carries the token along


def in_half_an_hour() -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=1800), usegmt=True)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("30", 30, 30),
        ("0", 0, 0),
        (in_half_an_hour(), 600, 1801),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("9" * 400, 3600, 3600),
        ("soon", None, None),
        ("1.5", None, None),
        ("30, 60", None, None),
        ("Wed, 21 Oct 9015307528:00 GMT", None, None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 3600, 3600),
        ("-5", None, None),
        ("٣", None, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_how_long_it_asks_to_wait(receiver: Receiver, status: int, value: str, least: float | None, most: float | None) -> None:
    receiver.answers = [(status, {"retry-after": value.encode("ascii", "replace").decode()}, b"")]
    found = failure(sink(receiver.url)).retry_after
    if least is None or most is None:
        assert found is None
    else:
        assert found is not None
        assert least <= found <= most


def test_401_without_a_token_asks_for_one(receiver: Receiver) -> None:
    receiver.answers = [(401, {}, answered("unauthorized"))]
    assert "set INFLUXDB['TOKEN']" in failure(sink(receiver.url, token="")).reason


def test_a_server_that_does_not_answer_is_given_up(receiver: Receiver) -> None:
    receiver.silent.clear()
    found = failure(sink(receiver.url, timeout=0.2))
    assert found.fault is Fault.SLOW
    assert "did not answer within 0.2 seconds" in found.reason
    assert "INFLUXDB['TIMEOUT']" in found.reason


@pytest.mark.parametrize(
    "script",
    [
        drips(b"HTTP/1.1 204 No Content\r\n", b"X-Slow: 1\r\n"),
        drips(b"HTTP/1.1 500 Oh\r\nContent-Length: 100000\r\n\r\n", b"x"),
        drips(b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
def test_a_server_that_drips_is_given_up(script: Any) -> None:
    server = ScriptedServer(script)
    begun = time.monotonic()
    found = failure(sink(f"http://127.0.0.1:{server.port}", timeout=0.5))
    took = time.monotonic() - begun
    server.close()
    assert found.fault is Fault.SLOW, found
    assert took < 10  # it drips for thirty


def test_an_endless_error_is_not_read_to_its_end() -> None:
    sent = 0

    def pour(connection: socket.socket, over: threading.Event) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 400 Bad\r\nContent-Length: 100000000000\r\n\r\n")
        while not over.is_set():
            connection.sendall(b"y" * 65536)
            sent += 65536

    server = ScriptedServer(pour)
    found = failure(sink(f"http://127.0.0.1:{server.port}", timeout=10))
    server.close()
    assert found.fault is Fault.POINTS
    assert sent < 50_000_000  # what fits into the buffers of sockets


def test_a_connection_that_ends_in_the_middle_is_no_setting() -> None:
    server = ScriptedServer(says(b""))
    found = failure(sink(f"http://127.0.0.1:{server.port}"))
    server.close()
    assert found.fault is Fault.UNREACHABLE
    assert "ended the connection" in found.reason


def test_connection_refused() -> None:
    with socket.socket() as bound:  # bound, but not listening: nobody else can take the port meanwhile
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        found = failure(sink(f"http://user:hidden@{address}"))
    message = found.reason
    assert found.fault is Fault.UNREACHABLE
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
        found = failure(sink(f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()
    assert found.fault is Fault.SETTING
    assert "does not talk as InfluxDB does" in found.reason


def test_https_to_a_plain_server_names_the_url(receiver: Receiver) -> None:
    assert "INFLUXDB['URL']" in failure(sink(receiver.url.replace("http", "https"))).reason


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "http://exa mple", "http://host:99999", "http://host:port", "http://.", "http://\x00", "http://é\ud800"],
)
def test_an_odd_url_is_an_error_with_a_name(url: str) -> None:
    assert "INFLUXDB['URL']" in failure(sink(url)).reason


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "naïve", "\x7f"])
def test_a_token_that_no_header_carries_is_refused_unseen(receiver: Receiver, token: str) -> None:
    message = failure(sink(receiver.url, token=token)).reason
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
            send(sink(receiver.url))
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
    assert "pip install 'django-fleet-monitoring[monitor]'" in failure(sink("http://127.0.0.1:1")).reason
