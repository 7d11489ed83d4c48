"""Connections: which are kept, which are forbidden, and that nothing takes longer than it may."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from monitoring.collector.connections import resolve
from monitoring.collector.fetching import FetchError, fetch
from monitoring.collector.transport import Session
from monitoring.targets import Targets
from tests.scripted import Script, ScriptedServer, answers

GOOD = {"service_name": "shop", "metrics": {}}
METADATA = "169.254.169.254"

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


class KeepingServer:
    """Keeps each connection for so many answers; then it reads the next request and closes, as a server does that just timed out.

    With `first_bytes` it says these before it closes.
    """

    def __init__(self, answers_each: int, first_bytes: bytes = b"") -> None:
        self.answers_each = answers_each
        self.first_bytes = first_bytes
        self.connections = 0
        self.lock = threading.Lock()

    def __call__(self, connection: socket.socket, over: threading.Event) -> None:
        with self.lock:
            self.connections += 1
        for number in range(self.answers_each):
            if number:
                self.read(connection)
            answers(GOOD, Connection="keep-alive")(connection, over)
        self.read(connection)
        connection.sendall(self.first_bytes)

    @staticmethod
    def read(connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            received = connection.recv(65536)
            if not received:
                raise OSError("the client left")
            head += received


def get(session: Session, url: str, timeout: float = 20.0) -> str | None:
    return fetch(url, timeout=timeout, session=session).service_name


def failure(session: Session, url: str, timeout: float = 20.0) -> str:
    with pytest.raises(FetchError) as caught:
        get(session, url, timeout)
    return str(caught.value)


# Kept connections


def test_a_connection_is_kept_from_round_to_round(serve: Serve) -> None:
    script = KeepingServer(100)
    server = serve(script)
    with Session(keep=4) as session:
        assert [get(session, server.url) for _ in range(20)] == ["shop"] * 20
    assert script.connections == 1
    assert "close" not in server.requests[0]


def test_a_kept_connection_that_was_closed_as_the_request_came_is_no_failure(serve: Serve) -> None:
    """Which of the two came first, the request or the server's timeout, says nothing about the service."""
    script = KeepingServer(2)
    server = serve(script)
    with Session(keep=4) as session:
        assert [get(session, server.url) for _ in range(9)] == ["shop"] * 9
    assert script.connections > 3


def test_a_new_connection_that_is_closed_is_a_failure_at_once(serve: Serve) -> None:
    script = KeepingServer(0)
    server = serve(script)
    script.read = lambda connection: None  # type: ignore[method-assign] # the request was read already
    with Session(keep=4) as session:
        assert "closed before an answer came" in failure(session, server.url)
    assert script.connections == 1


def test_a_kept_connection_that_breaks_within_an_answer_is_a_failure(serve: Serve) -> None:
    """A byte of an answer came, so the service did begin to answer: that is not asked away."""
    script = KeepingServer(1, first_bytes=b"HTTP/1.1 200")
    server = serve(script)
    with Session(keep=4) as session:
        get(session, server.url)
        failure(session, server.url)
    assert script.connections == 1


def test_the_second_try_has_what_is_left_of_the_time(serve: Serve) -> None:
    first = threading.Event()

    def script(connection: socket.socket, over: threading.Event) -> None:
        if first.is_set():
            over.wait(60)
            return
        first.set()
        answers(GOOD, Connection="keep-alive")(connection, over)
        KeepingServer.read(connection)

    server = serve(script)
    with Session(keep=4) as session:
        get(session, server.url)
        assert failure(session, server.url, timeout=0.5).startswith("No answer within 0.")


# Which addresses


class Names:
    """A DNS in which a name has these addresses, the first look-up the first, and the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int) -> Sequence[Any]:
        self.asked += 1
        addresses = self.answers[min(self.asked, len(self.answers)) - 1]
        return [found for address in addresses for found in resolve(address, port)]


def test_a_name_that_leads_to_a_forbidden_address_only_at_the_second_look_up(serve: Serve) -> None:
    """DNS rebinding: what was allowed when it was registered, or polled before, says nothing about where it leads now."""
    server = serve(answers(GOOD))
    names = Names(["127.0.0.1"], [METADATA])
    session = Session(resolver=names)
    url = f"http://rebinding.example:{server.port}/metrics"
    assert get(session, url) == "shop"
    message = failure(session, url)
    assert message.startswith(f"rebinding.example is at {METADATA}, which may not be polled")
    assert "ALLOWED_TARGETS" in message
    assert names.asked == 2


def test_of_several_addresses_only_the_allowed_ones_are_connected_to(serve: Serve) -> None:
    server = serve(answers(GOOD))
    assert get(Session(resolver=Names([METADATA, "127.0.0.1"])), f"http://both.example:{server.port}/") == "shop"


@pytest.mark.parametrize(
    "url", [f"http://{METADATA}/", "http://[::ffff:169.254.169.254]/", "http://2852039166/", "https://[fe80::1]/"]
)
def test_forbidden_addresses_as_they_can_be_written(url: str) -> None:
    assert "may not be polled" in failure(Session(), url)


def test_what_the_setting_allows_and_nothing_else(serve: Serve) -> None:
    server = serve(answers(GOOD))
    assert get(Session(targets=Targets.parse(["127.0.0.0/8"])), server.url) == "shop"
    assert (
        get(Session(targets=Targets.parse(["shop*"]), resolver=Names(["127.0.0.1"])), f"http://shop-1:{server.port}/") == "shop"
    )
    assert "may not be polled" in failure(Session(targets=Targets.parse(["10.0.0.0/8", "shop"])), server.url)
    asked = len(server.requests)
    assert "may not be polled" in failure(Session(targets=Targets.parse(["10.0.0.0/8"])).fresh(), server.url)
    assert len(server.requests) == asked, "a forbidden host must not even be connected to"


# How long


def test_a_look_up_that_never_ends_is_within_the_timeout() -> None:
    over = threading.Event()

    def hanging(host: str, port: int) -> Sequence[Any]:
        over.wait(60)
        return []

    try:
        assert failure(Session(resolver=hanging), "http://shop/", timeout=0.3).startswith("No connection within 0.3 s")
    finally:
        over.set()


def test_several_silent_addresses_share_the_timeout_and_leave_time_for_one_that_answers(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connects have a fake clock of their own: each silent address takes all that it may have."""
    server = serve(answers(GOOD))
    waited: list[float] = []
    connect = socket.socket.connect

    def silent_but_the_last(self: socket.socket, address: Any) -> None:
        if address[0] == "127.0.0.1":
            connect(self, address)
            return
        waited.append(self.gettimeout() or 0.0)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket.socket, "connect", silent_but_the_last)
    names = Names(["192.0.2.1", "192.0.2.2", "192.0.2.3", "127.0.0.1"])
    assert get(Session(resolver=names), f"http://shop:{server.port}/", timeout=20) == "shop"
    assert len(waited) == 3
    assert waited[0] <= 20 / 4


def test_a_name_without_an_address() -> None:
    def nothing(host: str, port: int) -> Sequence[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert "cannot be resolved" in failure(Session(resolver=nothing), "http://shop/")
