"""Where polled data goes. The database always takes it, first; `configured` gives what takes lines from the outbox."""

from __future__ import annotations

from monitoring.collector.sinks.base import Sink
from monitoring.collector.sinks.influxdb import InfluxDBSink
from monitoring.conf import InfluxDB


def configured(influxdb: InfluxDB | None) -> Sink | None:
    """The sink beside the database, if there is one."""
    return None if influxdb is None else InfluxDBSink(influxdb)
