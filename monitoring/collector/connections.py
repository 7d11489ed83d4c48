"""Connections to addresses that are allowed, on which everything has one deadline.

The timeouts of urllib3 bound each single read, so a server that sends a byte now and then keeps a client for ever, in the status
line and headers already; and the system's name resolution knows no timeout at all. Here every step, from the look-up to the last
byte, gets what is left of one deadline.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from http.client import HTTPResponse
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from monitoring.targets import Targets

Resolver = Callable[[str, int], Sequence[Any]]
"""What socket.getaddrinfo is, for a host and a port."""


class UnknownHostError(Exception):
    """The name resolves to nothing."""


class ForbiddenTargetError(Exception):
    """The host has no address that may be connected to; the message names them."""


class StaleConnectionError(ConnectionError):
    """A connection that was kept from an earlier request ended before the first byte of an answer.

    The server closed it at the moment at which the request was sent, most likely. Nothing is known of the service then.
    """


def resolve(host: str, port: int) -> Sequence[Any]:
    """The system's look-up."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class _DeadlineReader(io.RawIOBase):
    """The bytes of a socket until a deadline (of the monotonic clock); TimeoutError after it."""

    def __init__(self, raw: io.RawIOBase, sock: Any, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline
        self.silent = True
        """No byte has come yet."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(remaining)
        count = self._raw.readinto(buffer)
        if count:
            self.silent = False
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(HTTPResponse):
    """An answer that has to be read to its end within the timeout that its socket has when reading begins.

    urllib3 sets that timeout right before, to what connecting and sending have left of `Timeout(total=...)`.
    """

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()  # nothing is buffered yet
        self._reader = _DeadlineReader(raw, sock, time.monotonic() + sock.gettimeout())
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        try:
            super().begin()
        except ConnectionError as error:  # http.client.RemoteDisconnected is one too
            if self._reader.silent:
                raise _SilentEndError from error
            raise


class _SilentEndError(ConnectionError):
    """The connection ended before the first byte of the answer; the cause is what it ended with."""


class Plain(HTTPConnection):
    """A connection to an allowed address, which notices where it went stale while it was kept."""

    response_class = _DeadlineResponse
    targets: Targets
    resolver: Resolver
    _answers = 0
    """On the present socket."""

    def _new_conn(self) -> socket.socket:
        timeout = float(self.timeout or 0.0)  # urllib3 sets seconds right before
        deadline = time.monotonic() + timeout
        host = self._dns_host.strip("[]")
        try:
            found = _look_up(self.resolver, host, self.port, timeout)
        except (socket.gaierror, UnicodeError) as error:
            raise UnknownHostError(host) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"The look-up of {host} took too long") from error
        allowed = [one for one in found if self.targets.allows(host, str(one[4][0]))]
        if not allowed:
            raise ForbiddenTargetError(", ".join(dict.fromkeys(str(one[4][0]) for one in found)))
        self._answers = 0
        return self._connect_to_one_of(allowed, deadline)

    def _connect_to_one_of(self, addresses: Sequence[Any], deadline: float) -> socket.socket:
        """One after the other. The addresses are numeric: no name is looked up a second time."""
        failure: OSError = TimeoutError("timed out")
        for number, (family, kind, protocol, _name, address) in enumerate(addresses):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:  # no IPv6 on this machine
                failure = error
                continue
            try:
                sock.settimeout(remaining / (len(addresses) - number))  # one that is silent leaves time for the next
                sock.connect(address)
                sock.settimeout(max(0.001, deadline - time.monotonic()))  # for the handshake of TLS
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                sock.close()
                failure = error
                continue
            return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"{self.host} did not answer") from failure
        raise NewConnectionError(self, str(failure)) from failure

    def getresponse(self) -> Any:
        try:
            response = super().getresponse()
        except _SilentEndError as error:
            if self._answers:
                raise StaleConnectionError("a kept connection had been closed") from error
            raise error.__cause__ or error from None
        self._answers += 1
        return response


class Secure(Plain, HTTPSConnection):
    """The same over TLS."""


def _look_up(resolver: Resolver, host: str, port: int, timeout: float) -> Sequence[Any]:
    """What the resolver says, or TimeoutError. It has a thread of its own, as nothing can end the system's look-up."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return resolver(host, port)  # numeric: there is nothing to look up
    answers: queue.SimpleQueue[Sequence[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(resolver(host, port))
        except Exception as error:  # noqa: BLE001 (raised again, where somebody waits for it)
            answers.put(error)

    threading.Thread(target=ask, name=f"look-up-{host[:40]}", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError("timed out") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
