"""Services in the admin: registered, paused and polled here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from monitoring import schedule
from monitoring.conf import conf
from monitoring.models import Baseline, EndpointInterval, Instance, Service, State, validate_token

POLL_NOW_SECONDS = 5.0
"""How long the “poll now” action may take of a web request, however many services it is asked for."""

_SIGNS = {State.UP: "✓", State.DOWN: "✗", State.NEW: "●", State.PAUSED: "‖"}


class ServiceForm(forms.ModelForm):  # type: ignore[type-arg]
    """A service; its bearer token goes in and never comes out."""

    new_token = forms.CharField(
        label="Bearer token",
        required=False,
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
        validators=[validate_token],
    )
    remove_token = forms.BooleanField(label="Remove the token", required=False)

    class Meta:
        model = Service
        exclude = ["token"]  # noqa: DJ006 (all but this one, which must never be rendered)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "new_token" not in self.fields:  # the user may only look
            return
        if self.instance.token:
            self.fields["new_token"].help_text = "A token is set, and is not shown again. Leave this empty to keep it."
        else:
            self.fields[
                "new_token"
            ].help_text = "Sent as “Authorization: Bearer …”; needed where the service's metrics ask for one."
            del self.fields["remove_token"]

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data.get("remove_token"):
            self.instance.token = ""
        if self.cleaned_data.get("new_token"):
            self.instance.token = self.cleaned_data["new_token"]
        return super().save(commit)


class InstanceFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    def clean(self) -> None:
        super().clean()
        kept = [form for form in self.forms if form.cleaned_data.get("url") and not form.cleaned_data.get("DELETE")]
        if not kept and not any(self.errors):
            raise forms.ValidationError(
                "A service needs an address to be polled at: add the URL of its metrics document,"
                " such as http://shop.internal:8000/metrics."
            )


class InstanceInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Instance
    formset = InstanceFormSet
    extra = 0
    min_num = 1
    fields = ["url", "polled", "took", "problem"]
    readonly_fields = ["polled", "took", "problem"]

    @admin.display(description="last poll")
    def polled(self, instance: Instance) -> str:
        return _stamp(instance.last_polled_at)

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

    def get_queryset(self, request: HttpRequest) -> QuerySet[Service]:
        services: QuerySet[Service] = super().get_queryset(request).prefetch_related("instances")
        return services

    def get_fields(self, request: HttpRequest, obj: Service | None = None) -> Any:
        fields = ["name", "schedule", "explained", "enabled", "timeout", "duration_unit", "new_token", "remove_token"]
        if obj is None:
            fields.remove("explained")
        if obj is None or not obj.token:
            fields.remove("remove_token")
        return fields

    @admin.display(description="state")
    def shown_state(self, service: Service) -> SafeString:
        state = service.state
        return format_html("<span title='{}'>{} {}</span>", service.last_error, _SIGNS.get(State(state), ""), state)

    @admin.display(description="last poll")
    def last_poll(self, service: Service) -> str:
        return _stamp(service.last_polled_at)

    @admin.display(description="next due")
    def next_due(self, service: Service) -> str:
        try:
            return _stamp(service.next_due(timezone.now()))
        except schedule.ScheduleError:
            return "never: the schedule is wrong"

    @admin.display(description="last error")
    def shown_error(self, service: Service) -> str:
        return service.last_error or "–"

    @admin.display(description="in words")
    def explained(self, service: Service) -> str:
        try:
            return f"{schedule.explain(service.schedule)}; next due {_stamp(service.next_due(timezone.now()))}"
        except schedule.ScheduleError as error:
            return str(error)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        super().save_formset(request, form, formset, change)
        moved = [instance.pk for instance, names in getattr(formset, "changed_objects", []) if "url" in names]
        # Another address: what it counted before it is polled there is not known to be new.
        Baseline.objects.filter(instance__in=moved).delete()
        Instance.objects.filter(pk__in=moved).update(registered_at=timezone.now())

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list[Any], dict[Any, Any], set[Any], list[Any]]:
        """A count of the history instead of Django's list of it, which would hold hundreds of thousands of rows."""
        history = EndpointInterval.objects.filter(service__in=objs).count()
        counts = {"services": len(objs), "rows of history": history}
        return [str(service) for service in objs], counts, set(), []

    @admin.action(description="Poll now", permissions=["change"])
    def poll_now(self, request: HttpRequest, queryset: QuerySet[Service]) -> None:
        from monitoring.collector import polling, sinks  # the admin's other pages do without them

        others = sinks.configured(conf.INFLUXDB, timeout=POLL_NOW_SECONDS)
        report = polling.poll_services(list(queryset), sinks=others, deadline=POLL_NOW_SECONDS)
        for service in report.services:
            if not service.ok:
                self.message_user(request, f"Polling {service.name} failed: {service.error}", messages.ERROR)
            elif service.warning:
                self.message_user(request, f"Polled {service.name}, but {service.warning}", messages.WARNING)
        polled = [service.name for service in report.services if service.ok]
        if polled:
            self.message_user(request, f"Polled: {', '.join(_first(polled, 10))}.", messages.SUCCESS)
        for sink in report.sinks:
            if not sink.ok:
                self.message_user(request, f"Writing to {sink.name} failed: {sink.error}", messages.ERROR)

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Service]) -> None:
        self._switch(request, queryset, True, "polled again as their schedules say")

    @admin.action(description="Disable (pause polling)", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Service]) -> None:
        self._switch(request, queryset, False, "paused; their history stays")

    def _switch(self, request: HttpRequest, queryset: QuerySet[Service], enabled: bool, outcome: str) -> None:
        changed = queryset.exclude(enabled=enabled)
        names = ", ".join(_first(changed.values_list("name", flat=True), 10))
        count = changed.update(enabled=enabled)
        self.message_user(request, f"{count} services are {outcome}: {names}" if count else "Nothing had to change.")


def _stamp(moment: datetime | None) -> str:
    return "–" if moment is None else formats.date_format(timezone.localtime(moment), "Y-m-d H:i:s")


def _first(names: Iterable[str], most: int) -> list[str]:
    names = list(names)
    return names if len(names) <= most else [*names[:most], f"and {len(names) - most} more"]
