"""The HTTP client that documents are fetched with, and points are delivered with.

urllib3 without requests on top of it: that takes half the processor time, and there is no proxy, no .netrc (which would replace
the bearer token), no cookie and no redirect to be switched off.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import certifi
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.exceptions import LocationValueError
from urllib3.util.ssl_ import create_urllib3_context

from monitoring.collector.connections import Plain, Resolver, Secure, resolve
from monitoring.targets import Targets

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

_CHUNK = 64 * 1024
_MAX_DESCRIPTORS = 16_384


class TrustError(Exception):
    """The file of certificate authorities cannot be read; the message names it."""


class _ClosingPool(HTTPConnectionPool):
    """Keeps no connection, whatever the server says."""

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.close()
        super()._put_conn(None)


class _SecureClosingPool(_ClosingPool, HTTPSConnectionPool):
    """The same over TLS."""


_POOLS: Mapping[tuple[str, bool], type[HTTPConnectionPool]] = {
    ("http", True): HTTPConnectionPool,
    ("http", False): _ClosingPool,
    ("https", True): HTTPSConnectionPool,
    ("https", False): _SecureClosingPool,
}
"""By scheme, and whether connections are kept."""


class Session:
    """What documents are fetched through; many threads may share it. It remembers nothing but open connections.

    `keep` connections stay open for the next round. For a single round it is 0: each address is asked once, and the server is
    told that the connection ends with the answer.
    """

    def __init__(self, keep: int = 0, targets: Targets | None = None, resolver: Resolver = resolve) -> None:
        self._keep, self._targets, self._resolver = keep, targets or Targets(), resolver
        bound = {"targets": self._targets, "resolver": staticmethod(resolver)}
        self._classes = {"http": type("Plain", (Plain,), bound), "https": type("Secure", (Secure,), bound)}
        self._managers: dict[str, PoolManager] = {}
        self._lock = threading.Lock()

    def get(self, url: str, headers: Mapping[str, str], timeout: float) -> BaseHTTPResponse:
        """request() without a body."""
        return self.request("GET", url, headers, timeout)

    def request(
        self, method: str, url: str, headers: Mapping[str, str], timeout: float, body: bytes | str | None = None
    ) -> BaseHTTPResponse:
        """The answer, its body unread; close it. What arrives after `timeout` seconds from now is refused.

        Raises what urllib3 raises, ForbiddenTargetError, UnknownHostError and TrustError, and StaleConnectionError within one of
        urllib3's: then `fresh` sessions are worth a try.
        """
        scheme = url.partition("://")[0].lower()
        if scheme not in self._classes:
            raise LocationValueError("it does not start with http:// or https://")
        sent = dict(headers) if self._keep else {**headers, "Connection": "close"}
        return self._manager(scheme).urlopen(
            method,
            url,
            body=body,
            headers=sent,
            timeout=Timeout(total=timeout),
            retries=False,
            redirect=False,
            preload_content=False,
        )

    def fresh(self) -> Session:
        """A session to the same targets without any connection."""
        return Session(0, self._targets, self._resolver)

    def close(self) -> None:
        for manager in self._managers.values():
            manager.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def _manager(self, scheme: str) -> PoolManager:
        with self._lock:
            if scheme not in self._managers:
                more: dict[str, Any] = {"ssl_context": _context()} if scheme == "https" else {}
                manager = PoolManager(num_pools=max(self._keep, 1), **more)
                kind, parent = self._classes[scheme], _POOLS[scheme, self._keep > 0]
                manager.pool_classes_by_scheme = {scheme: type("Pool", (parent,), {"ConnectionCls": kind})}
                self._managers[scheme] = manager
            return self._managers[scheme]


def read_body(response: BaseHTTPResponse, limit: int) -> tuple[bytearray, bool]:
    """At most `limit` bytes of the body, and whether that is all; decompressed piece by piece: little more is ever held."""
    body = bytearray()
    for piece in response.stream(_CHUNK, decode_content=True):
        body += piece
        if len(body) > limit:
            del body[limit:]
            return body, False
    return body, True


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it came from: urllib3 wraps the reason in arguments, attributes and causes."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            yield one
            waiting += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]


def raise_descriptor_limit() -> None:
    """Let this process have as many open files as the system allows it to ask for, within reason; each connection is one."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS refuses more than its kernel has
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def affordable_connections() -> int:
    """How many connections may be in use at the same time; as many again may be kept."""
    if resource is None:
        return 400
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1000 if soft == resource.RLIM_INFINITY else max(32, min(1000, soft // 2 - 100))


def keepable_connections() -> int:
    """How many connections may be kept from round to round."""
    if resource is None:
        return 400
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_DESCRIPTORS // 2 if soft == resource.RLIM_INFINITY else max(32, soft - affordable_connections() - 200)


def _context() -> ssl.SSLContext:
    """Certificates are verified, against certifi's authorities or those of one's own network. Made once: reading them is slow."""
    path = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or certifi.where()
    context = create_urllib3_context()
    try:
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError as error:
        raise TrustError(f"{path}: {error.strerror or error}") from None
    return context
