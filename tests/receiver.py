"""A server in the place of InfluxDB that answers what a test tells it to."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Answer = tuple[int, dict[str, str], bytes]
NO_CONTENT: Answer = (204, {}, b"")


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    lines: list[str]


class Receiver(ThreadingHTTPServer):
    """Answers what it is told to, the last answer again and again, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answers: list[Answer] = [NO_CONTENT]
        self.requests: list[Received] = []
        self.judge: Callable[[list[str]], Answer] | None = None
        """What it answers to these lines, where it depends on them."""
        self.silent = threading.Event()
        self.silent.set()
        self.connections = 0
        self.ended = threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def lines(self) -> list[str]:
        """All that it was sent, in its order."""
        return [line for one in self.requests for line in one.lines]

    @property
    def sizes(self) -> list[int]:
        return [len(one.lines) for one in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one packet: a second one would wait for the first to be acknowledged, 40 ms
    server: Receiver

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def finish(self) -> None:
        super().finish()
        self.server.ended.release()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        received = Received(self.path, dict(self.headers), body.decode().split("\n"))
        self.server.requests.append(received)
        self.server.silent.wait(30)
        if self.server.judge is not None:
            status, headers, answer = self.server.judge(received.lines)
        else:
            status, headers, answer = self.server.answers[0]
            if len(self.server.answers) > 1:
                self.server.answers.pop(0)
        with contextlib.suppress(ConnectionError):  # who asked may be gone: killed, or out of patience
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the base class's name)
        pass


@contextmanager
def running_receiver(port: int = 0) -> Iterator[Receiver]:
    server = Receiver(port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.silent.set()
        server.shutdown()
        thread.join()
        server.server_close()
