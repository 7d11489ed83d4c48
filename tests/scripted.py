"""A server on a port of its own that says exactly the bytes that a test wants it to say."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

Script = Callable[[socket.socket, threading.Event], None]


class ScriptedServer:
    """Reads each request's head and hands the connection to a script, with an event that tells it that the test is over."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.over = threading.Event()
        self.wrap: Callable[[socket.socket], socket.socket] = lambda connection: connection
        self.needs_head = True
        self.requests: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/metrics"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), self.wrap(connection) as wrapped:  # clients leave early: many tests are about that
            head = wrapped.recv(65536)
            while self.needs_head and b"\r\n\r\n" not in head:
                received = wrapped.recv(65536)
                if not received:
                    return
                head += received
            if self.needs_head:
                self.requests.append(head.decode(errors="replace"))  # a body may be there
            self.script(wrapped, self.over)

    def close(self) -> None:
        self.over.set()
        self.listener.close()


def says(payload: bytes) -> Script:
    """Sends these bytes and closes the connection."""
    return lambda connection, over: connection.sendall(payload)


def answers(body: bytes | str | dict[str, Any], status: str = "200 OK", **headers: str) -> Script:
    """Sends an HTTP answer with this body; a dict as JSON."""
    if isinstance(body, dict):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return says(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)


def hangs(connection: socket.socket, over: threading.Event) -> None:
    """Never answers."""
    over.wait(60)


def drips(head: bytes, drop: bytes) -> Script:
    """Sends the head, then a few bytes again and again for half a minute, each well within any timeout of a single read."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head)
        for _ in range(600):
            if over.wait(0.05):
                return
            connection.sendall(drop)

    return script
