"""What influxdb-client sends its requests through: one deadline for each of them, and no more of an answer than people read.

Its own client has a timeout for each single read, and reads an error to its end, however long that is: a proxy that drips a page
holds it for ever, and one of a gigabyte is taken into memory whole.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from urllib3 import Timeout
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from monitoring.collector.connections import StaleConnectionError
from monitoring.collector.transport import Session, causes
from monitoring.targets import ANYWHERE

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read; what InfluxDB says of a refused batch has some hundred."""


class BoundedAnswer(NamedTuple):
    """As much of an answer as influxdb-client looks at."""

    status: int
    reason: str | None
    data: bytes
    headers: Mapping[str, str]


class BoundedManager:
    """In the place of the client's urllib3.PoolManager."""

    def __init__(self) -> None:
        self._session = Session(keep=1, targets=ANYWHERE)

    def __enter__(self) -> BoundedManager:
        return self

    def __exit__(self, *args: object) -> None:
        self.clear()

    def clear(self) -> None:
        self._session.close()

    def request(
        self, method: str, url: str, *, timeout: Timeout, headers: Mapping[str, str], body: bytes | str | None = None, **_: Any
    ) -> BoundedAnswer:
        """One request. Raises what urllib3 raises."""
        seconds, start = float(cast(float, timeout.total)), time.monotonic()
        try:
            return self._ask(self._session, method, url, headers, body, seconds)
        except ProtocolError as error:
            remaining = seconds - (time.monotonic() - start)
            if remaining <= 0 or not any(isinstance(one, StaleConnectionError) for one in causes(error)):
                raise
        with self._session.fresh() as fresh:  # the same lines once more do no harm
            return self._ask(fresh, method, url, headers, body, remaining)

    def _ask(
        self, session: Session, method: str, url: str, headers: Mapping[str, str], body: bytes | str | None, seconds: float
    ) -> BoundedAnswer:
        sent = {**headers, "Accept-Encoding": "identity"}
        with contextlib.closing(session.request(method, url, sent, seconds, body)) as response:
            try:
                data = response.read(MAX_ANSWER, decode_content=False)
                if len(data) < MAX_ANSWER:
                    response.release_conn()
            except TimeoutError as error:
                raise ReadTimeoutError(None, url, "Read timed out.") from error  # type: ignore[arg-type]
        return BoundedAnswer(response.status, response.reason, data.decode("utf-8", "replace").encode(), response.headers)
