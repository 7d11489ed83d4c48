"""InfluxDB as a sink: lines of points, through influxdb-client, one synchronous request at a time.

The client's own batching mode is not used: it writes from a thread and loses data silently when the process ends. Retries are
off, so that a failure is told at once: the outbox repeats. Anything that answers InfluxDB's `/api/v2/write` serves: InfluxDB 1.8,
2 and 3, VictoriaMetrics.
"""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from monitoring.collector import points
from monitoring.collector.sinks.base import Failure, Fault
from monitoring.collector.sinks.influxdb_answers import Answers
from monitoring.conf import InfluxDB

if TYPE_CHECKING:
    from influxdb_client.client.influxdb_client import InfluxDBClient

_GZIP_LEVEL = 1  # a fifth of the bytes for 1 µs a point; the higher levels take several times as much to save little more


class InfluxDBSink:
    """Writes to the bucket that MONITORING["INFLUXDB"] names. It holds no connection unless it is open."""

    name = "InfluxDB"

    def __init__(self, target: InfluxDB) -> None:
        self.target = target
        self.answers = Answers(target)
        self.address = self.answers.address
        self.timeout = target.timeout

    @contextlib.contextmanager
    def open(self) -> Iterator[InfluxDBConnection]:
        """One connection, for as many requests as are needed."""
        with contextlib.ExitStack() as stack:
            client, failure = None, self._unusable()
            if failure is None:
                client = stack.enter_context(self._client())
            yield InfluxDBConnection(self, client, failure)

    def _unusable(self) -> Failure | None:
        """What keeps anything from being sent at all."""
        token = self.target.token
        if not token.isascii() or not token.isprintable() or " " in token:
            return Failure(
                Fault.SETTING,
                "INFLUXDB['TOKEN'] holds a space, a line break or another character no token has: check what was pasted.",
            )
        try:
            import influxdb_client.client.influxdb_client  # noqa: F401 (0.27 s and 38 MB)
        except ImportError as error:
            return Failure(
                Fault.SETTING,
                f"Writing to InfluxDB needs influxdb-client ({error}): pip install 'django-fleet-monitoring[monitor]'.",
            )
        return None

    @contextlib.contextmanager
    def _client(self) -> Iterator[InfluxDBClient]:
        from influxdb_client.client.influxdb_client import InfluxDBClient

        from monitoring.collector.sinks.bounded import BoundedManager

        client = InfluxDBClient(
            url=self.target.url,
            token=self.target.token,
            org=self.target.org,
            timeout=round(self.target.timeout * 1000),
            retries=False,
        )
        with client, BoundedManager() as manager:
            rest: Any = client.api_client.rest_client
            rest.pool_manager = manager
            yield client


class InfluxDBConnection:
    """What InfluxDBSink.open() gives."""

    def __init__(self, sink: InfluxDBSink, client: InfluxDBClient | None, failure: Failure | None) -> None:
        self._sink, self._client, self._failure = sink, client, failure

    def send(self, lines: Sequence[str]) -> Failure | None:
        """Send lines of points.PRECISION in one request; None where all were taken."""
        if self._client is None or self._failure is not None:
            return self._failure
        from influxdb_client.client.exceptions import InfluxDBError
        from influxdb_client.service.write_service import WriteService
        from urllib3.exceptions import HTTPError

        from monitoring.collector.connections import UnknownHostError
        from monitoring.collector.transport import TrustError

        target, answers, api = self._sink.target, self._sink.answers, self._client.api_client
        body: Any = gzip.compress("\n".join(lines).encode(), _GZIP_LEVEL)  # the client annotates str and passes bytes on
        try:
            service: Any = WriteService  # without annotations, as the whole client
            _, status, _ = service(api).post_write_with_http_info(
                target.org, target.bucket, body, precision=points.PRECISION, content_encoding="gzip"
            )
        except InfluxDBError as error:
            status, headers, answer = (getattr(error, name, None) for name in ("status", "headers", "body"))
            return answers.refused(status or 0, headers or {}, answer or "", getattr(error, "reason", None))
        except (HTTPError, HTTPException, UnknownHostError, TrustError, ValueError, OSError) as error:
            return answers.not_reached(error)
        return answers.accepted(status, str(api.last_response.data))
