"""Points that InfluxDB refused: looked at, put back, or discarded."""

from __future__ import annotations

import time
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from monitoring.admin.outbox import not_usable
from monitoring.admin.stamps import stamp
from monitoring.dashboard.outbox import count
from monitoring.models import RejectedPoints, unpack_lines

LINES_SHOWN = 100

PUT_BACK_SECONDS = 5.0
"""How long putting back may take of a web request, however much was chosen."""


@admin.register(RejectedPoints)
class RejectedPointsAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    change_form_template = "monitoring/admin/rejected.html"
    list_display = ["when", "points", "shown_words"]
    actions = ["put_back", "delete_selected"]
    show_full_result_count = False
    fields = ["when", "points", "all_words", "shown_lines"]
    readonly_fields = ["when", "points", "all_words", "shown_lines"]

    class Media:
        css = {"all": ["monitoring/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: RejectedPoints | None = None) -> bool:
        """To put back; no single one is ever edited."""
        return obj is None and super().has_change_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RejectedPoints]:
        found: QuerySet[RejectedPoints] = super().get_queryset(request).defer("lines")
        return found

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Rejected points", **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"title": "Rejected points", "may_put_back": self.has_change_permission(request), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"title": "Discard these points?", "subtitle": None, **(extra_context or {})}
        return super().delete_view(request, object_id, context)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list[Any], dict[Any, Any], set[Any], list[Any]]:
        """Their sum instead of Django's list of them, which would hold thousands."""
        chosen = objs if isinstance(objs, QuerySet) else RejectedPoints.objects.filter(pk__in=[one.pk for one in objs])
        points = chosen.order_by().aggregate(sum=Sum("points"))["sum"] or 0
        told = f"{count(points)}, which InfluxDB will never get. The history keeps what they say."
        return [told], {"points": points}, set(), []

    @admin.display(description="refused at", ordering="pk")
    def when(self, rejected: RejectedPoints) -> str:
        return stamp(rejected.rejected_at)

    @admin.display(description="InfluxDB said")
    def shown_words(self, rejected: RejectedPoints) -> str:
        return rejected.words if len(rejected.words) <= 200 else rejected.words[:199] + "…"

    @admin.display(description="InfluxDB said")
    def all_words(self, rejected: RejectedPoints) -> SafeString:
        return format_html('<span class="monitoring-quoted">{}</span>', rejected.words)

    @admin.display(description="lines")
    def shown_lines(self, rejected: RejectedPoints) -> SafeString:
        try:
            lines = unpack_lines(bytes(rejected.lines))
        except ValueError as error:
            return format_html("{}", f"They are damaged: {error}. Discard them.")
        more = f"… and {count(len(lines) - LINES_SHOWN)} more." if len(lines) > LINES_SHOWN else ""
        return format_html('<pre class="monitoring-lines">{}</pre>{}', "\n".join(lines[:LINES_SHOWN]), more)

    @admin.action(description="Put back into the outbox", permissions=["change"])
    def put_back(self, request: HttpRequest, queryset: QuerySet[RejectedPoints]) -> None:
        from monitoring.collector import outbox  # the admin's other pages do without it

        problem = not_usable()
        if problem:
            self.message_user(request, f"Nothing was put back, as it would only wait. {problem}", messages.ERROR)
            return
        ends = time.monotonic() + PUT_BACK_SECONDS
        keys = list(queryset.order_by("pk").values_list("pk", flat=True))  # in the order in which they came
        points, done = 0, 0
        for key in keys:
            rejected = RejectedPoints.objects.filter(pk=key).first()
            if rejected is not None:
                outbox.put_back(rejected)
                points += rejected.points
            done += 1
            if time.monotonic() >= ends:
                break
        self.message_user(request, f"Put back: {count(points)}. They go with the next delivery.", messages.SUCCESS)
        if done < len(keys):
            said = f"There was no time for {len(keys) - done:,} of the {len(keys):,} rows: choose them once more."
            self.message_user(request, said, messages.WARNING)

    @admin.action(description="Discard", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[RejectedPoints]) -> HttpResponse | None:
        """Under its own name, which Django's page of confirmation sends back."""
        response: HttpResponse | None = delete_selected(self, request, queryset)
        return response
