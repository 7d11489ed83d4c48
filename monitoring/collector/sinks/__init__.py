"""Where polled data goes. The database always takes it, first; `configured` gives the others."""

from __future__ import annotations

from monitoring.collector.sinks.base import Sink, SinkError
from monitoring.conf import InfluxDB


def configured(influxdb: InfluxDB | None, timeout: float = 10.0) -> list[Sink]:
    """The sinks beside the database; one request of theirs takes at most `timeout` seconds.

    Raises SinkError where one is configured that cannot be used.
    """
    if influxdb is None:
        return []
    try:
        from monitoring.collector.sinks.influxdb import InfluxDBSink  # here: it costs a quarter of a second
    except ImportError as error:
        raise SinkError(
            f"InfluxDB is configured, but its client cannot be imported ({error}): pip install influxdb-client."
        ) from None
    return [InfluxDBSink(influxdb, timeout)]
