"""Collectors: looked at, never changed by hand."""

from __future__ import annotations

from datetime import datetime

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from monitoring.admin.stamps import stamp
from monitoring.models import Collector, Service


def silence(now: datetime) -> str:
    """What to tell where services should be polled and no collector is alive; empty where one is, or nothing is to be polled."""
    if not Service.objects.filter(enabled=True).exists():
        return ""
    collectors = list(Collector.objects.all())
    if any(one.is_alive(now) for one in collectors):
        return ""
    run = "Install its crontab line with manage.py collect_crontab install, or start manage.py collect_metrics --loop."
    if not collectors:
        return f"No collector has run yet, so nothing is polled by itself. {run}"
    last = collectors[0]
    return f"No collector is running: the last tick was at {stamp(last.ticked_at)}, on {last.host} ({last.mode}). {run}"


@admin.register(Collector)
class CollectorAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["host", "mode", "alive", "last_tick", "took", "behind_schedule", "services", "failed", "error"]
    list_display_links = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Collector | None = None) -> bool:
        return False

    @admin.display(boolean=True)
    def alive(self, collector: Collector) -> bool:
        return collector.is_alive(timezone.now())

    @admin.display(description="last tick")
    def last_tick(self, collector: Collector) -> str:
        return stamp(collector.ticked_at)

    @admin.display(description="its round took")
    def took(self, collector: Collector) -> str:
        return "–" if collector.duration is None else f"{collector.duration:.1f} s"

    @admin.display(description="behind")
    def behind_schedule(self, collector: Collector) -> str:
        return f"{collector.behind:.1f} s"
