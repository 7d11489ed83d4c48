"""Whatever a server does, `fetch` gives a document or a FetchError that says what to do. The servers here are real sockets."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monitoring import wire
from monitoring.collector import fetching
from monitoring.collector.fetching import FetchError, fetch
from monitoring.collector.transport import Session
from tests.scripted import Script, ScriptedServer, answers, drips, hangs, says

SAMPLES = Path(__file__).parent / "samples"
SELF_SIGNED = SAMPLES / "self-signed.pem"
TOKEN = "s3cret-t0ken"
GOOD = {"service_name": "shop", "metrics": {"GET/": {"count": 2, "avg_duration": 0.5, "status_codes": {"200": 2}}}}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

Serve = Callable[[Script], ScriptedServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[ScriptedServer] = []

    def start(script: Script) -> ScriptedServer:
        servers.append(ScriptedServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def failure(url: str, timeout: float = 20.0, token: str = TOKEN) -> str:
    """The message of the FetchError that this must end in; never with the token, always one line that ends like a sentence."""
    with pytest.raises(FetchError) as caught:
        fetch(url, timeout=timeout, token=token)
    message = str(caught.value)
    assert TOKEN not in message
    assert "\n" not in message
    assert message[0].isupper()
    assert message[-1] in ".?…"
    return message


# What goes well


def test_a_document_is_fetched_with_the_token_and_read(serve: Serve) -> None:
    server = serve(answers(GOOD))
    document = fetch(server.url, timeout=20, token=TOKEN)
    assert document.service_name == "shop"
    assert document.endpoints["GET/"].duration_sum == 1.0
    request = server.requests[0]
    assert request.startswith("GET /metrics HTTP/1.1\r\n")
    assert f"Authorization: Bearer {TOKEN}\r\n" in request
    assert "Accept: application/json\r\n" in request


def test_no_token_no_authorization(serve: Serve) -> None:
    server = serve(answers(GOOD))
    fetch(server.url, timeout=20)
    assert "authorization" not in server.requests[0].lower()


def test_the_environment_sets_neither_proxy_nor_credentials(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login eve password other")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server = serve(answers(GOOD))
    fetch(server.url, timeout=20, token=TOKEN)
    assert f"Authorization: Bearer {TOKEN}\r\n" in server.requests[0]


def test_a_session_keeps_no_cookies(serve: Serve) -> None:
    server = serve(answers(GOOD, Set_Cookie="a=b"))
    with Session(keep=8) as session:
        fetch(server.url, timeout=20, session=session)
        fetch(server.url, timeout=20, session=session)
    assert "cookie" not in server.requests[1].lower()


def test_a_single_round_keeps_no_connection_not_even_where_the_server_would(serve: Serve) -> None:
    connections: list[socket.socket] = []

    def script(connection: socket.socket, over: threading.Event) -> None:
        connections.append(connection)
        answers(GOOD, Connection="keep-alive")(connection, over)
        over.wait(60)  # it keeps the connection, and would never answer a second request on it

    server = serve(script)
    with Session() as session:
        for _ in range(3):
            fetch(server.url, timeout=5, session=session)
    assert len(connections) == 3
    assert "\r\nConnection: close\r\n" in server.requests[0]


def test_gzip_is_understood(serve: Serve) -> None:
    body = gzip.compress(b'{"metrics": {}, "service_name": "zipped"}')
    server = serve(answers(body, Content_Encoding="gzip"))
    assert fetch(server.url, timeout=20).service_name == "zipped"


def test_a_document_without_a_length_ends_with_the_connection(serve: Serve) -> None:
    assert fetch(serve(says(HEAD + b'\r\n{"metrics": {}}')).url, timeout=20).endpoints == {}


@pytest.mark.parametrize("name", ["gin-metrics-bare.json", "gin-metrics-enveloped.json"])
def test_the_gin_services_documents_are_read(serve: Serve, name: str) -> None:
    milliseconds = "enveloped" in name
    server = serve(answers((SAMPLES / name).read_bytes()))
    document = fetch(server.url, timeout=20, seconds_per_unit=0.001 if milliseconds else 1.0)
    if milliseconds:
        assert document.endpoints["GET/process"].count == 40
        assert document.endpoints["GET/process"].duration_sum == pytest.approx(0.105)
    else:
        assert document.endpoints["GET/unknown"].status_codes == {404: 2}


# Who does not answer


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "refused" in failure(f"http://127.0.0.1:{port}/metrics")


def test_a_name_that_does_not_exist() -> None:
    assert "cannot be resolved" in failure("http://no-such-host.invalid/metrics")


@pytest.mark.parametrize("url", ["http://", "ftp://127.0.0.1/", "nonsense", "http://127.0.0.1:99999/", f"http://{'a' * 70}.com/"])
def test_an_unusable_url(url: str) -> None:
    failure(url)


def test_hangs(serve: Serve) -> None:
    assert failure(serve(hangs).url, timeout=0.3) == "No answer within 0.3 s."


def test_a_host_that_swallows_connections() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = []
        for _ in range(3):  # what the backlog still takes; the kernel then drops every further SYN
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        assert failure(f"http://127.0.0.1:{address[1]}/", timeout=0.3).startswith("No connection within 0.3 s")
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize(
    ("head", "drop", "message"),
    [
        (b"", b"H", "No answer within 0.5 s."),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x", "No answer within 0.5 s."),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "No answer within 0.5 s."),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b" ", "The document did not arrive whole within 0.5 s."),
        (HEAD + b"\r\n", b" ", "The document did not arrive whole within 0.5 s."),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", "The document did not arrive whole within 0.5 s."),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"T: x\r\n", "The document did not arrive whole within 0.5 s."),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"e", "The document did not arrive whole within 0.5 s."),
    ],
    ids=["status", "header", "continue", "body", "endless", "chunks", "trailers", "chunk-extension"],
)
def test_a_slow_drip_is_cut_at_the_deadline(serve: Serve, head: bytes, drop: bytes, message: str) -> None:
    """Each drop comes within the timeout, so only a deadline over the whole ends this (or the server, with the test)."""
    server = serve(drips(head, drop))
    assert failure(server.url, timeout=0.5) == message


# Who answers something else


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (answers("", "301 Moved", Location="/login?next=/metrics"), "to http://127.0.0.1:{port}/login?next=/metrics; register"),
        (answers("", "302 Found", Location="https://other.example/m"), "redirects to https://other.example/m; register that"),
        (answers("", "302 Found", Location=f"/?token={TOKEN}"), "redirects to http://127.0.0.1:{port}/?token=[token]; register"),
        (answers("", "302 Found", Location="http://[bad"), "redirects to http://[bad; register"),
        (answers("", "302 Found"), "HTTP 302 Found"),
        (answers("", "304 Not Modified"), "HTTP 304 Not Modified"),
        (says(b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe\xc3\xa4\r\nContent-Length: 0\r\n\r\n"), "ä; register"),
        (answers("no", "401 Unauthorized"), "HTTP 401 Unauthorized: the service does not show"),
        (answers("no", "403 Forbidden"), "is its bearer token the one registered here?"),
        (answers("no", "404 Not Found"), "usually has its document at /metrics"),
        (answers("no", "400 Bad Request"), "ALLOWED_HOSTS must contain '127.0.0.1'"),
        (answers(GOOD, "500 Internal Server Error"), "HTTP 500 Internal Server Error: see the service's own log."),
        (answers("", "799 Odd"), "HTTP 799"),
        (answers("<!DOCTYPE html><p>", Content_Type="text/html"), "is a web page (HTML)"),
        (answers("\n <html>"), "is a web page (HTML)"),
        (answers("# HELP up x\nup 1\n", Content_Type="text/plain"), "Prometheus text format"),
        (answers(""), "The answer is empty"),
        (answers("", "204 No Content"), "HTTP 204"),
        (answers('{"metrics": {"GET/": {"count": 1'), "not a JSON document"),
        (answers(b"\xff\xfe\x00garbage"), "not a JSON document"),
        (answers("[" * 100_000), "not a JSON document"),
        (answers("[]"), "the document is a list, not an object"),
        (answers('{"metrics": []}'), '"metrics" is a list, not an object'),
        (answers({"metrics": {"GET/": {"count": -1, "avg_duration": 0, "status_codes": {}}}}), '"count" is negative (-1)'),
        (answers({"metrics": {"GET/": {"count": "7", "avg_duration": 0, "status_codes": {}}}}), '"count" is a string'),
        (answers({"metrics": {"GET/": {"count": 1, "avg_duration": float("nan"), "status_codes": {}}}}), "NaN is not a"),
        (answers({"metrics": {TOKEN: 1}}), "endpoint '[token]'"),
        (answers({"metrics": {"GET/" + "x" * 5000: []}}), "endpoint 'GET/xxx"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "The answer is not HTTP"),
        (says(b""), "closed before an answer came"),
        (says(HEAD + b"X" * 70_000 + b"\r\n\r\n"), "The answer is not HTTP"),
        (says(HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(500)) + b"\r\n"), "The answer is not HTTP"),
        (says(HEAD + b"Content-Length: 100\r\n\r\n{"), "broke off before its end"),
        (says(HEAD + b"Content-Length: -5\r\n\r\n{"), "."),
        (says(HEAD + b"Content-Length: 5, 7\r\n\r\n{}"), "."),
        (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}"), "."),
        (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}"), "broke off before its end"),
        (answers(b"not gzip at all", Content_Encoding="gzip"), "not compressed as its Content-Encoding says"),
        (answers(gzip.compress(b"{}" * 9)[:-9], Content_Encoding="gzip"), "."),
        (says(b"HTTP/1.1 200 OK\r\nSet-Cookie: \xff\xff=\x00;;;\r\nBad\xffHeader\r\n\r\n{"), "."),
    ],
)  # fmt: skip
def test_what_is_no_document(serve: Serve, script: Script, message: str) -> None:
    server = serve(script)
    assert message.format(port=server.port) in failure(server.url)


def test_without_a_token_the_hint_asks_for_one(serve: Serve) -> None:
    assert "register its bearer token" in failure(serve(answers("no", "403 Forbidden")).url, token="")


def test_a_redirect_is_never_followed(serve: Serve) -> None:
    target = serve(answers(GOOD))
    failure(serve(answers("", "302 Found", Location=target.url)).url)
    assert target.requests == []


def test_a_connection_reset_in_the_body(serve: Serve) -> None:
    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n{")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    failure(serve(script).url)


# TLS


@pytest.fixture
def serve_tls(serve: Serve) -> Serve:
    """As `serve`, over TLS, with a certificate for 127.0.0.1 that nobody but itself has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(SELF_SIGNED)

    def start(script: Script) -> ScriptedServer:
        server = serve(script)
        server.wrap = lambda connection: context.wrap_socket(connection, server_side=True)
        server.url = server.url.replace("http", "https", 1)
        return server

    return start


def test_a_certificate_that_nobody_signed(serve_tls: Serve) -> None:
    message = failure(serve_tls(answers(GOOD)).url)
    assert message.startswith("The TLS certificate is not accepted: self-signed certificate")
    assert "REQUESTS_CA_BUNDLE" in message


def test_an_authority_of_ones_own(serve_tls: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(SELF_SIGNED))
    assert fetch(serve_tls(answers(GOOD)).url, timeout=20).service_name == "shop"


def test_a_file_of_authorities_that_is_not_there(serve_tls: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/authorities.pem")
    assert "/nowhere/authorities.pem" in failure(serve_tls(answers(GOOD)).url)


def test_a_slow_drip_over_tls_is_cut_at_the_deadline(serve_tls: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(SELF_SIGNED))
    server = serve_tls(drips(HEAD + b"\r\n", b" "))
    assert failure(server.url, timeout=1) == "The document did not arrive whole within 1 s."


def test_https_to_a_port_that_speaks_http(serve: Serve) -> None:
    server = serve(says(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    server.needs_head = False  # no request will come, only a greeting of TLS
    assert "TLS fails" in failure(server.url.replace("http", "https", 1))


# Too much of it


def bomb(size: int) -> bytes:
    return gzip.compress(b" " * size, compresslevel=1)


def chunked(body: bytes) -> Script:
    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

    return script


def endless(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(HEAD + b"\r\n")
    while not over.is_set():
        connection.sendall(b" " * 65536)


@pytest.mark.parametrize(
    "make",
    [
        lambda: says(HEAD + b"Content-Length: 104857600\r\n\r\n{" + b" " * 17 * 1024 * 1024),
        lambda: endless,
        lambda: answers(bomb(200_000_000), Content_Encoding="gzip"),
        lambda: chunked(bomb(200_000_000)),
        lambda: answers(gzip.compress(bomb(200_000_000)), Content_Encoding="gzip, gzip"),
    ],
    ids=["announced", "endless", "gzip-bomb", "chunked-gzip-bomb", "gzip-in-gzip"],
)
def test_what_is_too_large_is_not_held_in_memory(serve: Serve, make: Callable[[], Script]) -> None:
    server = serve(make())
    tracemalloc.start()
    try:
        message = failure(server.url)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message == "The document is larger than 16 MiB: is this the URL of a metrics document?"
    assert peak < 3 * fetching.MAX_DOCUMENT_BYTES


def test_of_a_document_with_a_million_endpoints_the_first_are_read_and_that_is_told(serve: Serve) -> None:
    one = '"GET/items/%d":{"count":1,"avg_duration":0.5,"status_codes":{"200":1}}'
    text = '{"service_name":"shop","metrics":{' + ",".join(one % number for number in range(1_000_000)) + "}}"
    server = serve(answers(gzip.compress(text.encode(), compresslevel=1), Content_Encoding="gzip"))
    del text
    tracemalloc.start()
    try:
        document = fetch(server.url, timeout=60)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * fetching.MAX_DOCUMENT_BYTES
    assert (document.service_name, document.truncated) == ("shop", True)
    assert len(document.endpoints) == wire.MAX_ENDPOINTS
    assert document.endpoints["GET/items/0"].status_codes == {200: 1}


def test_the_body_of_a_redirect_is_not_read(serve: Serve) -> None:
    server = serve(answers(bomb(200_000_000), "302 Found", Content_Encoding="gzip", Location="/elsewhere"))
    tracemalloc.start()
    try:
        assert "redirects" in failure(server.url)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < fetching.MAX_DOCUMENT_BYTES


# What is wrong on this side


@pytest.mark.parametrize("token", ["a b", "a\nInjected: yes", "schlüssel"])
def test_a_token_that_no_header_can_carry(serve: Serve, token: str) -> None:
    server = serve(answers(GOOD))
    message = failure(server.url, token=token)
    assert "bearer token" in message
    assert token not in message
    assert server.requests == []
