"""The outbox: what waits for InfluxDB, since when and why; and a delivery at once. Its rows are the collector's to change."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from monitoring.admin.stamps import stamp
from monitoring.conf import InfluxDB, conf, problems
from monitoring.dashboard import queries, units
from monitoring.dashboard.outbox import Delivery, count
from monitoring.models import OutboxState, waiting

DELIVER_NOW_SECONDS = 5.0
"""How long “Deliver now” may take of a web request, its last request to InfluxDB included."""

_LEFT_FOR_OTHERS = 0.5  # seconds of these that no single request may take

TROUBLE_AFTER = timedelta(minutes=10)
"""For how long nothing was taken until the list of services says so: a restart of InfluxDB is over by then."""


def trouble(now: datetime) -> str:
    """What to tell where InfluxDB has taken nothing for long; empty where it has, or nothing waits."""
    found = queries.outbox(conf.INFLUXDB is not None, now)
    if found is None or found.delivery is not Delivery.FAILING or found.failing_since is None:
        return ""
    if now - found.failing_since < TROUBLE_AFTER:
        return ""
    return f"{found.headline(now)}. {found.error} {found.next_attempt(now)}"


def not_usable() -> str:
    """Why nothing can be delivered to InfluxDB, as far as the settings show; empty where it can be tried."""
    for problem in problems():
        if problem.check_id in ("monitoring.E014", "monitoring.E023"):
            return f"{problem.message} {problem.hint}"
    return "" if conf.INFLUXDB is not None else "There is no InfluxDB in the settings: set INFLUXDB in MONITORING."


@admin.register(OutboxState)
class OutboxAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """One page, whether there is a row yet or not."""

    change_form_template = "monitoring/admin/outbox.html"
    readonly_fields = ["waits", "room", "goes_to", "failing", "next_attempt", "last_delivery", "dropped_ever", "refused"]
    fieldsets = [
        ("What waits", {"fields": ["waits", "room"]}),
        ("Delivery", {"fields": ["goes_to", "failing", "next_attempt", "last_delivery"]}),
        ("What InfluxDB did not get", {"fields": ["dropped_ever", "refused"]}),
    ]

    class Media:
        css = {"all": ["monitoring/admin.css"]}

    def get_urls(self) -> list[URLPattern]:
        # Not in the request's transaction: others are to see at once who delivers, and what was delivered.
        deliver = transaction.non_atomic_requests(using=router.db_for_write(OutboxState))(
            self.admin_site.admin_view(require_POST(self.deliver_now))
        )
        return [path("deliver/", deliver, name="monitoring_outboxstate_deliver"), *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: OutboxState | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: OutboxState | None = None) -> bool:
        return False

    def may_deliver(self, request: HttpRequest) -> bool:
        return super().has_change_permission(request)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> OutboxState | None:
        found: OutboxState | None = super().get_object(request, object_id, from_field)
        return OutboxState(pk=OutboxState.ONLY) if found is None and object_id == str(OutboxState.ONLY) else found

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return HttpResponseRedirect(self._url("change", OutboxState.ONLY))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        now = timezone.now()
        found = queries.outbox(conf.INFLUXDB is not None, now)
        context = {
            "title": "Outbox",
            "subtitle": None,
            "headline": found.headline(now) if found else "InfluxDB is not in use, and nothing waits",
            "bad": found is not None and (found.bad or found.delivery is Delivery.UNSET),
            "error": found.error if found and found.waiting.points else "",
            "not_usable": not_usable(),
            "deliver_url": self._url("deliver") if self.may_deliver(request) else None,
        }
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    @admin.display(description="waiting")
    def waits(self, state: OutboxState) -> str:
        found = waiting()
        if not found.points:
            return "Nothing"
        oldest = f"the oldest since {_moment(found.since)}" if found.since else ""
        return f"{count(found.points)}, {_megabytes(found.size)}, {oldest}"

    @admin.display(description="room")
    def room(self, state: OutboxState) -> str:
        bounds = conf.OUTBOX
        return f"{bounds.megabytes:,} MB, {bounds.days:,} days; beyond that the oldest is dropped (setting OUTBOX)"

    @admin.display(description="goes to")
    def goes_to(self, state: OutboxState) -> str:
        from monitoring.collector import sinks  # the admin's other pages do without it

        sink = sinks.configured(conf.INFLUXDB)
        if sink is None:
            return f"Nowhere: {not_usable()}" + (f" It went to {state.address} before." if state.address else "")
        if state.address and state.address != sink.address:
            return f"{sink.address} from the next delivery on; to {state.address} so far"
        return sink.address + (f", since {stamp(state.since)}" if state.since else "")

    @admin.display(description="failed")
    def failing(self, state: OutboxState) -> str:
        return f"{state.failures:,} times in a row, since {_moment(state.failing_since)}" if state.failures else "–"

    @admin.display(description="next attempt")
    def next_attempt(self, state: OutboxState) -> str:
        now = timezone.now()
        if state.held_until and state.held_until > now:
            return "A collector delivers at this moment"
        if state.retry_at is None or state.retry_at <= now:
            return "In the next round of a collector"
        return f"{stamp(state.retry_at)}{', as InfluxDB asked to wait' if state.asked_to_wait else ''}"

    @admin.display(description="delivered")
    def last_delivery(self, state: OutboxState) -> str:
        return f"{count(state.delivered)} so far, the last {_moment(state.delivered_at)}" if state.delivered_at else "Nothing yet"

    @admin.display(description="dropped")
    def dropped_ever(self, state: OutboxState) -> str:
        if not state.dropped:
            return "Nothing so far"
        return (
            f"{count(state.dropped)} so far, the last {_moment(state.dropped_at)}: they waited for too long, or too many did."
            " manage.py export_history --since … --until … writes what the history still has of that time; the setting OUTBOX"
            " says how much may wait."
        )

    @admin.display(description="refused")
    def refused(self, state: OutboxState) -> str:
        return f"{count(state.rejected)} so far; Rejected points has what is set aside" if state.rejected else "Nothing so far"

    def deliver_now(self, request: HttpRequest) -> HttpResponse:
        """Deliver what waits, whatever is known of InfluxDB, and say how it went."""
        if not self.may_deliver(request):
            raise PermissionDenied
        target, problem = conf.INFLUXDB, not_usable()
        if target is None or problem:
            self.message_user(request, f"Nothing was delivered. {problem}", messages.ERROR)
        else:
            try:
                self._deliver(request, target)
            except DatabaseError as error:
                self.message_user(request, f"The database cannot be used ({error}). Try again in a moment.", messages.ERROR)
        return HttpResponseRedirect(self._url("change", OutboxState.ONLY))

    def _deliver(self, request: HttpRequest, target: InfluxDB) -> None:
        from monitoring.collector import forwarding, outbox, sinks

        # One request may begin when the time for beginning them is all but over.
        timeout = min(target.timeout, DELIVER_NOW_SECONDS - _LEFT_FOR_OTHERS)
        sink = sinks.configured(replace(target, timeout=timeout))
        assert sink is not None  # noqa: S101 (as the target is not)
        found = forwarding.deliver(
            sink,
            outbox.Bounds.of(conf.OUTBOX),
            seconds=DELIVER_NOW_SECONDS - timeout,
            patience=forwarding.Patience.NOW,
        )
        if found.delivered:
            self.message_user(request, f"Delivered: {count(found.delivered)}.", messages.SUCCESS)
        if found.error:
            self.message_user(request, found.error, messages.ERROR)
        if found.rejected:
            said = f"{count(found.rejected)} refused by InfluxDB and set aside: see Rejected points."
            self.message_user(request, said, messages.WARNING)
        if found.dropped:
            self.message_user(request, f"{count(found.dropped)} dropped, as OUTBOX allows no more to wait.", messages.WARNING)
        if found.busy:
            self.message_user(request, "A collector delivers at this moment.", messages.INFO)
        if found.waiting:
            later = " The next round goes on with them." if not found.error and not found.busy else ""
            self.message_user(request, f"Still waiting: {count(found.waiting)}.{later}", messages.INFO)
        elif not found.delivered and not found.rejected:
            self.message_user(request, "Nothing waits.", messages.INFO)

    def _url(self, name: str, *args: object) -> str:
        return reverse(f"{self.admin_site.name}:monitoring_outboxstate_{name}", args=args)


def _moment(moment: datetime | None) -> str:
    return "–" if moment is None else f"{stamp(moment)} ({units.ago(moment, timezone.now())})"


def _megabytes(size: int) -> str:
    return "less than 0.1 MB" if size < 100_000 else f"{size / 1e6:,.1f} MB"
