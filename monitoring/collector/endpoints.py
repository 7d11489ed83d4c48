"""The endpoints that a service has: so many at most, and what is beyond is counted as one, `_OTHER/_other`.

A service whose routes hold ids or names may report others at every poll, for ever, and each would be a row of Endpoint, rows of
the history, and a series in InfluxDB for each instance.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from monitoring.collector import intervals, rows
from monitoring.collector.intervals import EndpointInterval, InstanceInterval
from monitoring.models import Endpoint, Service
from monitoring.wire import OTHER_METHOD, OVERFLOW_ROUTE, MetricsDocument

MAX_ENDPOINTS = 10_000
"""Endpoints of a service, all of its instances and all of its past together, beside `_OTHER/_other`."""

_OVERFLOW = OTHER_METHOD + OVERFLOW_ROUTE
_ROWS_A_STATEMENT = 1000


def admit(service: Service, documents: Sequence[MetricsDocument]) -> dict[str, int]:
    """The primary keys of the service's endpoints by method + route; those that are new in these documents are added while there
    is room. The caller's transaction holds the service. Raises DatabaseError.

    An endpoint is added when it is first reported, be it at rest: it has points from then on.
    """
    if not any(document.endpoints for document in documents):
        return {}
    ids = _ids(service)
    new = {one.key: one for document in documents for key, one in document.endpoints.items() if key not in ids}
    if not new:
        return ids
    reported_overflow = new.pop(_OVERFLOW, None)
    room = max(0, MAX_ENDPOINTS - len(ids.keys() - {_OVERFLOW}))
    added = sorted((one.method, one.route) for one in new.values())[:room]
    if _OVERFLOW not in ids and (reported_overflow or len(new) > room):
        added.append((OTHER_METHOD, OVERFLOW_ROUTE))
    if added:
        created = [Endpoint(service=service, method=method, route=route) for method, route in added]
        Endpoint.objects.bulk_create(created, batch_size=_ROWS_A_STATEMENT)
        ids = _ids(service)  # not every database tells the keys of rows that were created in bulk
    return ids


def too_many() -> str:
    """What is said of an instance that reports endpoints which were not admitted."""
    return (
        f"the service has had more than {MAX_ENDPOINTS:,} endpoints; further ones are counted together, as {_OVERFLOW}."
        " Do its routes hold ids or names?"
    )


def within(document: MetricsDocument, admitted: Collection[str]) -> MetricsDocument:
    """The document without the endpoints that were not admitted."""
    kept = {key: endpoint for key, endpoint in document.endpoints.items() if key in admitted}
    return replace(document, endpoints=kept)


def folded(interval: InstanceInterval, admitted: Collection[str]) -> InstanceInterval:
    """The interval with what happened at endpoints that were not admitted added up as that of `_OTHER/_other`."""
    kept: list[EndpointInterval] = []
    beyond: list[EndpointInterval] = []
    for one in interval.endpoints:
        key = one.method + one.route
        (beyond if key == _OVERFLOW or key not in admitted else kept).append(one)
    if beyond:
        kept.append(replace(intervals.total(beyond), method=OTHER_METHOD, route=OVERFLOW_ROUTE))
    return replace(interval, endpoints=kept)


def _ids(service: Service) -> dict[str, int]:
    return {method + route: pk for method, route, pk in rows.select(Endpoint, ("method", "route", "id"), service.pk)}
