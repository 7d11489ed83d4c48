"""A registry and a history written by hand, for the tests of what the pages show."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitoring import packing
from monitoring.models import Endpoint, EndpointInterval, Instance, Interval, Resolution, Service, milliseconds


def make_service(name: str, now: datetime, *, instances: int = 1, error: str = "", **fields: object) -> Service:
    """A service whose instances (host names a, b, c, ...) were all polled just now; `error` is the first one's."""
    service = Service.objects.create(name=name, registered_at=now - timedelta(days=1), **fields)
    for letter in "abcdefgh"[:instances]:
        failed = error if letter == "a" else ""
        Instance.objects.create(
            service=service,
            url=f"http://{letter}:8000/metrics",
            last_polled_at=now,
            last_success_at=now - timedelta(minutes=3) if failed else now,
            last_error=failed,
            failures=3 if failed else 0,
            poll_duration=0.012,
        )
    return service


def add_interval(
    instance: Instance | int,
    end: datetime,
    seconds: float = 60,
    count: int = 0,
    *,
    service: Service | None = None,
    endpoint: Endpoint | None = None,
    errors: int = 0,
    duration_sum: float = 0.0,
    duration_max: float | None = None,
    status_codes: dict[int, int] | None = None,
    buckets: dict[int, int] | None = None,
    resolution: Resolution = Resolution.POLL,
) -> None:
    """One row of history: the interval of an instance, or one endpoint's share. A number stands for a deleted instance."""
    fields = {
        "service": instance.service if isinstance(instance, Instance) else service,
        "instance_id": instance.pk if isinstance(instance, Instance) else instance,
        "resolution": resolution,
        "end": milliseconds(end),
        "count": count,
        "errors": errors,
        "duration_sum": duration_sum,
        "duration_max": duration_max,
        "status_codes": packing.pack_codes(status_codes or {}),
        "buckets": None if buckets is None else packing.pack_buckets(buckets),
    }
    if endpoint is None:
        Interval.objects.create(**fields, covered=round(seconds * 1000))
    else:
        EndpointInterval.objects.create(**fields, endpoint=endpoint)
