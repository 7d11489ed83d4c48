"""The HTTP session that documents are fetched with: a connection for each request, and a deadline over the whole of an answer.

The `timeout` of requests and urllib3 bounds each single read, so a server that sends a byte now and then keeps a client for ever,
in the status line and headers already. Here every read of an answer gets what is left of one deadline.

A round asks each address once, so there is next to nothing to gain by keeping a connection; but a server may close it at any
moment, also the one at which the next request is sent, and a service would be down that is not.
"""

from __future__ import annotations

import io
import os
import time
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection


class _DeadlineReader(io.RawIOBase):
    """The bytes of a socket until a deadline (of the monotonic clock); TimeoutError after it."""

    def __init__(self, raw: io.RawIOBase, sock: Any, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(remaining)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(HTTPResponse):
    """An answer that has to be read to its end within the timeout that its socket has when reading begins.

    urllib3 sets that timeout right before, to what connecting and sending have left of `Timeout(total=...)`.
    """

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        timeout = sock.gettimeout()
        if timeout is not None:
            raw = self.fp.detach()  # nothing is buffered yet
            self.fp = io.BufferedReader(_DeadlineReader(raw, sock, time.monotonic() + timeout))

    def begin(self) -> None:
        super().begin()
        self.will_close = True  # whatever the server says: this connection is not used again


class _Connection(HTTPConnection):
    response_class = _DeadlineResponse


class _SecureConnection(HTTPSConnection):
    response_class = _DeadlineResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class Session(requests.Session):
    """A session that many threads may share; it keeps nothing from one request to the next."""

    def __init__(self, pool_size: int = 32) -> None:
        super().__init__()
        # No proxy from the environment (services are watched directly), and no .netrc, which would replace the bearer token.
        self.trust_env = False
        self.headers["Connection"] = "close"
        # The one thing that is wanted from there: the certificate authorities of one's own network.
        self.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = _Adapter(pool_connections=pool_size, pool_maxsize=pool_size)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: requests would read the whole body of a redirect, whatever its size, even where it is not to be followed."""
        return
