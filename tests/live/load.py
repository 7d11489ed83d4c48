"""A load generator: as many threads as connections, each request counted by what came back."""

from __future__ import annotations

import http.client
import threading


class Load:
    """Requests to one server from a number of threads, until stopped or done."""

    def __init__(self, port: int, threads: int, each: int | None = None, path: str = "/items/1/") -> None:
        self.port, self.path, self.each = port, path, each
        self.answered = 0
        """Responses that were received whole, with status 200."""
        self.failed = 0
        """Requests without one: the connection was refused or broke."""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        self.join()

    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _run(self) -> None:
        left = self.each if self.each is not None else 10**9
        while left and not self._stop.is_set():
            left -= 1
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("GET", self.path)
                response = connection.getresponse()
                response.read()
                answered = response.status == 200
            except (OSError, http.client.HTTPException):
                answered = False
            finally:
                connection.close()
            with self._lock:
                if answered:
                    self.answered += 1
                else:
                    self.failed += 1
