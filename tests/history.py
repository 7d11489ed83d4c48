"""A registry and a history written by hand, for the tests of what the pages show."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitoring.models import Endpoint, Instance, Interval, Service


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
    instance: Instance | None,
    end: datetime,
    seconds: float = 60,
    count: int = 0,
    *,
    service: Service | None = None,
    endpoint: Endpoint | None = None,
    errors: int = 0,
    duration_sum: float = 0.0,
    duration_max: float | None = None,
    status_codes: dict[str, int] | None = None,
    buckets: dict[str, int] | None = None,
) -> Interval:
    """One row of history: the total of an instance, or of one endpoint of it."""
    owner = service or (instance.service if instance else None)
    return Interval.objects.create(
        service=owner,
        instance=instance,
        endpoint=endpoint,
        start=end - timedelta(seconds=seconds),
        end=end,
        count=count,
        errors=errors,
        duration_sum=duration_sum,
        duration_max=duration_max,
        status_codes=status_codes or {},
        buckets=buckets,
    )
