"""Where polled data goes. The database always takes it, first; `configured` gives the others."""

from __future__ import annotations

from monitoring.collector.sinks.base import Sink
from monitoring.collector.sinks.influxdb import TIMEOUT, InfluxDBSink
from monitoring.conf import InfluxDB


def configured(influxdb: InfluxDB | None, timeout: float = TIMEOUT) -> list[Sink]:
    """The sinks beside the database; one request of theirs takes at most `timeout` seconds."""
    return [] if influxdb is None else [InfluxDBSink(influxdb, timeout)]
