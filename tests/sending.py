"""Points to an InfluxDB without an outbox."""

from __future__ import annotations

from collections.abc import Iterable

from monitoring.collector import delivery, points
from monitoring.collector.delivery import Delivered
from monitoring.collector.sinks.base import PolledInstance
from monitoring.collector.sinks.influxdb import InfluxDBSink
from monitoring.conf import InfluxDB


def deliver_points(target: InfluxDB, polled: Iterable[PolledInstance]) -> Delivered:
    lines = [line for one in polled for line in points.lines(one)]
    with InfluxDBSink(target).open() as connection:
        return delivery.deliver(connection, lines, 5000)


def write_points(target: InfluxDB, polled: Iterable[PolledInstance]) -> None:
    """All of them have to be taken."""
    done = deliver_points(target, polled)
    assert (done.failure, done.refused, done.rest) == (None, [], [])
