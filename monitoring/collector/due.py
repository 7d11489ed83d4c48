"""Which services are to be polled: all, those that were named, or those whose schedule has a slot now."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import router, transaction
from django.db.models import F, Q, QuerySet

from monitoring import schedule
from monitoring.models import Service
from monitoring.schedule import Missed


class UnknownServiceError(LookupError):
    """No service has this name; the message names those that are close."""


@dataclass(slots=True)
class Due:
    """What a tick has to do."""

    services: list[Service] = field(default_factory=list)
    """Those whose slot has come."""
    oldest_slot: datetime | None = None
    """The oldest of these slots: what the tick is behind."""
    broken: dict[str, str] = field(default_factory=dict)
    """Services whose schedule cannot be read, by name, with what is wrong with it."""
    missed: dict[str, Missed] = field(default_factory=dict)
    """Slots that nobody served while no collector ran, by the name of the service. They are told once, and not made up."""


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

    `among` leaves the others out. A slot is claimed by an UPDATE whose condition only one of several collectors can meet; slots
    that were missed are settled by the same one, so that one collector tells of them.
    """
    due = Due()
    tickets: list[_Ticket] = []
    for service in _with_instances().filter(enabled=True) if among is None else among:
        if not service.enabled:
            continue
        try:
            ticket = _ticket(service, now)
        except schedule.ScheduleError as error:
            due.broken[service.name] = f"The schedule cannot be read: {error}"
            continue
        if ticket is not None:
            tickets.append(ticket)
    with transaction.atomic(using=router.db_for_write(Service)) if claim and tickets else contextlib.nullcontext():
        for ticket in tickets:
            if claim and not _claim(ticket):
                continue
            if ticket.slot is not None:
                due.services.append(ticket.service)
                due.oldest_slot = min(ticket.slot, due.oldest_slot or ticket.slot)
            if ticket.missed is not None:
                due.missed[ticket.service.name] = ticket.missed
    return due


@dataclass(frozen=True, slots=True)
class _Ticket:
    """What one service is owed."""

    service: Service
    slot: datetime | None
    missed: Missed | None


def _ticket(service: Service, now: datetime) -> _Ticket | None:
    local, since = now.astimezone(service.zone), service.slots_since(now)
    slot = schedule.due_slot(service.schedule, local, since)
    until = (slot or now - schedule.LATENESS).astimezone(service.zone)
    missed = None
    if service.last_slot is not None and since < until:  # before the first poll of all nothing is missed
        missed = schedule.missed_slots(service.schedule, since, until)
    return _Ticket(service, slot, missed) if slot or missed else None


def _claim(ticket: _Ticket) -> bool:
    """Whether these slots are this collector's."""
    service, slot, missed = ticket.service, ticket.slot, ticket.missed
    free = Q(last_slot=service.last_slot)  # nobody was here since it was read
    changes: dict[str, Any] = {"last_slot": slot}
    if missed is not None:
        changes = {
            "last_slot": slot or missed.last,
            "missed_slots": F("missed_slots") + missed.count,
            "last_missed_slot": missed.last,
        }
    else:
        free |= Q(last_slot__lt=slot)
    return bool(Service.objects.filter(free, pk=service.pk, enabled=True).update(**changes))


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
