"""Which services are to be polled: all, those that were named, or those whose schedule has a slot now."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Q, QuerySet
from django.utils import timezone

from monitoring import schedule
from monitoring.models import Service


class UnknownServiceError(LookupError):
    """No service has this name; the message names those that are close."""


@dataclass(slots=True)
class Due:
    """Services whose slot has come, and those whose schedule cannot be read, by name, with what is wrong with it."""

    services: list[Service] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)


def selected_services(names: Collection[str] = ()) -> list[Service]:
    """The services of these names, paused ones included; without names all that are enabled. Raises UnknownServiceError."""
    services = _with_instances()
    if not names:
        return list(services.filter(enabled=True))
    found = list(services.filter(name__in=set(names)))
    for name in names:
        if not any(service.name == name for service in found):
            raise UnknownServiceError(_unknown(name))
    return found


def due_services(now: datetime, *, among: Sequence[Service] | None = None, claim: bool = True) -> Due:
    """The enabled services that have a slot to serve, and, with `claim`, the promise that no other collector serves it too.

    `among` leaves the others out. A slot is claimed by an UPDATE whose condition only one of several collectors can meet.
    """
    due = Due()
    local = timezone.localtime(now)
    for service in _with_instances().filter(enabled=True) if among is None else among:
        if not service.enabled:
            continue
        try:
            slot = schedule.due_slot(service.schedule, local, service.last_slot or service.registered_at)
        except schedule.ScheduleError as error:
            due.broken[service.name] = f"The schedule cannot be read: {error}"
            continue
        if slot is not None and (not claim or _claim(service, slot)):
            due.services.append(service)
    return due


def _claim(service: Service, slot: datetime) -> bool:
    free = Q(last_slot__isnull=True) | Q(last_slot__lt=slot)
    return bool(Service.objects.filter(free, pk=service.pk, enabled=True).update(last_slot=slot))


def _with_instances() -> QuerySet[Service]:
    services: QuerySet[Service] = Service.objects.prefetch_related("instances")
    return services


def _unknown(name: str) -> str:
    known = list(Service.objects.values_list("name", flat=True))
    lowered = {one.lower(): one for one in known}
    close = [lowered[one] for one in difflib.get_close_matches(name.lower(), lowered, n=3)]
    if close:
        return f"No service is named {name!r}. Did you mean {' or '.join(map(repr, close))}?"
    return f"No service is named {name!r}. Registered: {', '.join(known[:20]) or 'none yet'}{', …' if len(known) > 20 else ''}."
