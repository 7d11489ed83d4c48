"""Points of the history: of each poll, or of several where they are rolled up, and of each interval of an endpoint.

They have the measurement, the tags and the fields of the points that polls give, without the cumulative fields, which the history
does not keep. An instance has the address that is registered now; of one that was deleted only its number is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any

from django.db.models import Q

from monitoring import packing
from monitoring.collector import points, rows, stretches
from monitoring.collector.intervals import EndpointInterval
from monitoring.collector.rows import AnyRow, AvailabilityRow, EndpointRow
from monitoring.collector.stretches import Stretch
from monitoring.models import Endpoint, Instance, Resolution, Service

CHUNK = 5000
"""Rows in memory, beside those of one moment. No query is open while they are written, so that no one waits for that."""

_end: Callable[[Any], int] = attrgetter("end")


class Retelling:
    """The points of one service's history."""

    def __init__(self, service: Service) -> None:
        self.unreadable = 0
        """Rows whose bytes are not as they were written."""
        self._service = service
        self._endpoints = {one.pk: (one.method, one.route) for one in Endpoint.objects.filter(service=service)}
        self._tags = {pk: points.endpoint_tags(*endpoint) for pk, endpoint in self._endpoints.items()}
        self._labels = {one.pk: one.label for one in Instance.objects.filter(service=service).order_by("pk")}
        # Instances of one address share their series: what they have of one moment is added up.
        first: dict[str, int] = {}
        self._same = {pk: first.setdefault(label, pk) for pk, label in self._labels.items()}
        self._series: dict[int, tuple[str, str]] = {}

    def lines(self, stretch: Stretch) -> Iterator[str]:
        """What the rows of this stretch tell, a line a point; the polls first, and each kind in the order of time."""
        where = stretches.rows_of(self._service.pk, stretch)
        for end, polls in groupby(self._read(AvailabilityRow, where), _end):
            for poll in _once_each(list(polls), stretch.resolution):
                fields = points.poll_fields(poll.polls, poll.failures, poll.duration_max)
                yield f"{self._series_of(poll.instance_id)[1]} {fields[1:]} {end}"
        for end, shares in groupby(self._read(EndpointRow, where), _end):
            for share in self._shares(list(shares), stretch.resolution):
                tags = self._tags.get(share.endpoint_id)
                if tags is not None and (fields := self._fields(share)):
                    yield f"{self._series_of(share.instance_id)[0]}{tags} {fields[1:]} {end}"

    def _read(self, kind: type[AnyRow], where: Q) -> Iterator[AnyRow]:
        found = rows.MODELS[kind]._default_manager.filter(where).order_by("end", "pk").values_list("pk", *kind._fields)
        chunk = list(found[:CHUNK])
        while chunk:
            for _, *values in chunk:
                row = kind._make(values)
                same = self._same.get(row.instance_id, row.instance_id)
                yield row if same == row.instance_id else row._replace(instance_id=same)
            if len(chunk) < CHUNK:
                return
            pk, end = chunk[-1][0], row.end
            chunk = list(found.filter(Q(end__gt=end) | Q(pk__gt=pk), end__gte=end)[:CHUNK])

    def _series_of(self, instance_id: int) -> tuple[str, str]:
        """What the lines of an instance begin with: those of its endpoints, those of its polls."""
        known = self._series.get(instance_id)
        if known is None:
            label = self._labels.get(instance_id, f"deleted-{instance_id}")
            name = self._service.name
            known = self._series[instance_id] = (points.series_of(name, label), points.poll_series_of(name, label))
        return known

    def _shares(self, shares: list[EndpointRow], resolution: Resolution) -> list[EndpointRow]:
        if len({(one.instance_id, one.endpoint_id) for one in shares}) == len(shares):
            return shares
        try:
            return rows.add_up_endpoints(shares, resolution, {})
        except ValueError:
            self.unreadable += len(shares)
            return []

    def _fields(self, share: EndpointRow) -> str:
        try:
            codes = packing.unpack_codes(share.status_codes)
            buckets = None if share.buckets is None else packing.unpack_buckets(share.buckets)
        except ValueError:
            self.unreadable += 1
            return ""
        # Its method and route are in the tags.
        return points.interval_fields(
            EndpointInterval("", "", share.count, share.duration_sum, share.duration_max, codes, buckets)
        )


def _once_each(polls: list[AvailabilityRow], resolution: Resolution) -> list[AvailabilityRow]:
    return polls if len({one.instance_id for one in polls}) == len(polls) else rows.add_up_availability(polls, resolution)
