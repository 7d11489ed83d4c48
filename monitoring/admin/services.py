"""Services: registered, paused and polled here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from monitoring import schedule
from monitoring.admin.collectors import silence
from monitoring.admin.forms import InstanceFormSet, ServiceForm
from monitoring.admin.outbox import trouble
from monitoring.admin.stamps import stamp
from monitoring.conf import conf, problems
from monitoring.models import Baseline, EndpointInterval, Instance, Service, State

POLL_NOW_SECONDS = 5.0
"""How long the “poll now” action may take of a web request, however many services it is asked for."""

_SIGNS = {State.UP: "✓", State.LATE: "◷", State.DOWN: "✗", State.NEW: "●", State.PAUSED: "‖"}
_RUNS_SHOWN = 3


class InstanceInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Instance
    formset = InstanceFormSet
    extra = 0
    min_num = 1
    fields = ["url", "polled", "took", "problem"]
    readonly_fields = ["polled", "took", "problem"]

    @admin.display(description="last poll")
    def polled(self, instance: Instance) -> str:
        return stamp(instance.last_polled_at)

    @admin.display(description="took")
    def took(self, instance: Instance) -> str:
        return "–" if instance.poll_duration is None else f"{instance.poll_duration:.3f} s"

    @admin.display(description="error or warning")
    def problem(self, instance: Instance) -> str:
        if instance.last_error and instance.failures > 1:
            return f"{instance.last_error} ({instance.failures} times in a row)"
        return instance.last_error or instance.warning or "–"


@admin.register(Service)
class ServiceAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = ServiceForm
    inlines = [InstanceInline]
    list_display = ["name", "shown_state", "last_poll", "next_due", "shown_error"]
    list_filter = ["enabled"]
    search_fields = ["name", "instances__url"]
    list_per_page = 200
    actions = ["poll_now", "enable", "disable"]
    readonly_fields = ["explained"]

    class Media:
        js = ["monitoring/schedule.js"]

    def get_urls(self) -> list[URLPattern]:
        explain = self.admin_site.admin_view(require_safe(self.explain_schedule))
        return [path("explain-schedule/", explain, name="monitoring_service_explain_schedule"), *super().get_urls()]

    def explain_schedule(self, request: HttpRequest) -> HttpResponse:
        """What schedule.js shows beside the field, while somebody types."""
        text = _explained(request.GET.get("schedule", "")[:100], request.GET.get("time_zone", "")[:60])
        return JsonResponse({"text": text}, headers={"Cache-Control": "no-store"})

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "GET":
            now = timezone.now()
            for told in filter(None, (silence(now), trouble(now))):
                self.message_user(request, told, messages.WARNING)
        return super().changelist_view(request, extra_context)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Service]:
        services: QuerySet[Service] = super().get_queryset(request).prefetch_related("instances")
        return services

    def get_fields(self, request: HttpRequest, obj: Service | None = None) -> Any:
        fields = [
            "name",
            "schedule",
            "time_zone",
            "explained",
            "enabled",
            "timeout",
            "duration_unit",
            "new_token",
            "remove_token",
        ]
        if obj is None or not obj.token:
            fields.remove("remove_token")
        return fields

    @admin.display(description="state")
    def shown_state(self, service: Service) -> SafeString:
        status = service.status(timezone.now())
        since = f" since {stamp(status.since)}" if status.since else ""
        sign = _SIGNS.get(State(status.state), "")
        return format_html("<span title='{}'>{} {}<small>{}</small></span>", service.last_error, sign, status.state, since)

    @admin.display(description="last poll")
    def last_poll(self, service: Service) -> str:
        return stamp(service.last_polled_at)

    @admin.display(description="next due")
    def next_due(self, service: Service) -> str:
        try:
            return stamp(service.next_due(timezone.now()))
        except schedule.ScheduleError:
            return "never: the schedule is wrong"

    @admin.display(description="last error")
    def shown_error(self, service: Service) -> str:
        return service.last_error or "–"

    @admin.display(description="in words")
    def explained(self, service: Service | None) -> SafeString:
        service = service or Service()
        missed = ""
        if service.last_missed_slot:
            missed = f"{service.missed_slots} slots were missed so far, the last at {stamp(service.last_missed_slot)}."
        return format_html(
            '<output id="schedule-explained" data-url="{}">{}</output> {}',
            reverse(f"{self.admin_site.name}:monitoring_service_explain_schedule"),
            _explained(service.schedule, service.time_zone),
            missed,
        )

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        super().save_formset(request, form, formset, change)
        moved = [instance.pk for instance, names in getattr(formset, "changed_objects", []) if "url" in names]
        # Another address: what it counted before it is polled there is not known to be new.
        Baseline.objects.filter(instance__in=moved).delete()
        Instance.objects.filter(pk__in=moved).update(registered_at=timezone.now(), recent_starts=[])

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list[Any], dict[Any, Any], set[Any], list[Any]]:
        """A count of the history instead of Django's list of it, which would hold hundreds of thousands of rows."""
        history = EndpointInterval.objects.filter(service__in=objs).count()
        counts = {"services": len(objs), "rows of history": history}
        return [str(service) for service in objs], counts, set(), []

    @admin.action(description="Poll now", permissions=["change"])
    def poll_now(self, request: HttpRequest, queryset: QuerySet[Service]) -> None:
        from monitoring.collector import polling  # the admin's other pages do without it

        for problem in problems():
            if not problem.check_id.startswith("monitoring.W"):
                self.message_user(request, f"Nothing was polled. {problem.message} {problem.hint}", messages.ERROR)
                return
        report = polling.poll_services(
            list(queryset),
            to_outbox=conf.INFLUXDB is not None,  # delivered in the next round
            targets=conf.ALLOWED_TARGETS,
            deadline=POLL_NOW_SECONDS,
        )
        for service in report.services:
            if not service.ok:
                self.message_user(request, f"Polling {service.name} failed: {service.error}", messages.ERROR)
            elif service.warning:
                self.message_user(request, f"Polled {service.name}, but {service.warning}", messages.WARNING)
        polled = [service.name for service in report.services if service.ok]
        if polled:
            self.message_user(request, f"Polled: {', '.join(_first(polled, 10))}.", messages.SUCCESS)

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Service]) -> None:
        self._switch(request, queryset, True, "polled again as their schedules say")

    @admin.action(description="Disable (pause polling)", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Service]) -> None:
        self._switch(request, queryset, False, "paused; their history stays")

    def _switch(self, request: HttpRequest, queryset: QuerySet[Service], enabled: bool, outcome: str) -> None:
        changed = queryset.exclude(enabled=enabled)
        names = ", ".join(_first(changed.values_list("name", flat=True), 10))
        now = timezone.now()
        count = changed.update(enabled=enabled, schedule_since=now, paused_at=None if enabled else now)
        self.message_user(request, f"{count} services are {outcome}: {names}" if count else "Nothing had to change.")


def _first(names: Iterable[str], most: int) -> list[str]:
    names = list(names)
    return names if len(names) <= most else [*names[:most], f"and {len(names) - most} more"]


def _explained(expression: str, time_zone: str) -> str:
    """The schedule in words, and its next runs; or what is wrong with it."""
    try:
        zone = schedule.zone(time_zone) if time_zone else timezone.get_default_timezone()
        runs = itertools.islice(schedule.slots(expression, timezone.now().astimezone(zone)), _RUNS_SHOWN)
        shown = ", ".join(f"{run:%a %Y-%m-%d %H:%M}" for run in runs)
        return f"{schedule.explain(expression)}. Next: {shown} ({time_zone or timezone.get_default_timezone_name()})."
    except schedule.ScheduleError as error:
        return str(error)
