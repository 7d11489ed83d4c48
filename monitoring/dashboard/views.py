"""The pages: parse the address, ask queries.py, render."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.contrib.auth.decorators import user_passes_test
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe

from monitoring.conf import conf
from monitoring.dashboard import queries, tracefiles, tracesearch, tracetree
from monitoring.dashboard.tables import ENDPOINTS, SERVICES
from monitoring.dashboard.windows import DEFAULT, WINDOWS

LATEST = 50
"""Requests on the page of traces."""

Choice = TypeVar("Choice")


class UnknownParameter(Exception):
    """The address asks for something that the page does not have. It is said, rather than something else shown instead."""


def page(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """For staff only, read only, never cached, under a Content-Security-Policy."""

    @wraps(view)
    def protected(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = _for_staff(view, request, *args, **kwargs)
        response["Content-Security-Policy"] = content_security_policy(static("monitoring/monitoring.css"))
        patch_cache_control(response, no_store=True, private=True)
        return response

    return require_safe(protected)


@page
def fleet(request: HttpRequest) -> HttpResponse:
    """All services, those in trouble first."""
    window = _chosen(request, "window", WINDOWS, DEFAULT)
    sort = _chosen(request, "sort", {name: name for name in SERVICES.sorts}, SERVICES.default)
    now = timezone.now()
    found = queries.fleet(window, now)
    context = {
        "fleet": found,
        "outbox": queries.outbox(conf.INFLUXDB is not None, now),
        "outbox_url": _admin_url_for(request, "outboxstate"),
        "rejected_url": _admin_url_for(request, "rejectedpoints"),
        "services": SERVICES.sorted(found.services, sort),
        "headers": SERVICES.headers(sort),
        "add_url": _admin_url("monitoring_service_add"),
        "registry_url": _admin_url("monitoring_service_changelist"),
        "window": window,
        "windows": WINDOWS.values(),
        "now": now,
    }
    return render(request, "monitoring/fleet.html", context)


@page
def service(request: HttpRequest, pk: int) -> HttpResponse:
    """One service: its instances and its endpoints."""
    window = _chosen(request, "window", WINDOWS, DEFAULT)
    sort = _chosen(request, "sort", {name: name for name in ENDPOINTS.sorts}, ENDPOINTS.default)
    now = timezone.now()
    found = queries.service(pk, window, now)
    if found is None:
        raise Http404("There is no such service: it may have been deleted.")
    context = {
        "service": found.head,
        "page": found,
        "endpoints": ENDPOINTS.sorted(found.endpoints, sort),
        "headers": ENDPOINTS.headers(sort),
        "change_url": _admin_url("monitoring_service_change", pk),
        "registry_url": _admin_url("monitoring_service_changelist"),
        "window": window,
        "windows": WINDOWS.values(),
        "now": now,
    }
    return render(request, "monitoring/service.html", context)


@page
def traces(request: HttpRequest) -> HttpResponse:
    """One trace, found in the trace logs; without an id the latest requests."""
    given = request.GET.get("trace_id", "").strip()
    trace_id = tracesearch.trace_id_in(given)
    template, found = _latest_requests(request) if trace_id is None else _trace(trace_id)
    context = {
        "given": given[:200],
        "patterns": [tracefiles.readable(pattern) for pattern in conf.TRACE_LOGS],
        "slow_seconds": conf.SLOW_SECONDS,
        "registry_url": _admin_url("monitoring_service_changelist"),
        "at": timezone.now(),
    }
    return render(request, template, {**context, **found})


def _trace(trace_id: str) -> tuple[str, dict[str, Any]]:
    found = tracesearch.of_trace(conf.TRACE_LOGS, trace_id)
    trace = tracetree.build(found.lines, conf.SLOW_SECONDS)
    if trace is None:
        return "monitoring/trace.html", {"found": found, "trace_id": trace_id}
    keys = queries.service_keys(span.line.service_name for span in trace.spans)
    rows = [(span, keys.get(span.line.service_name)) for span in trace.spans]
    return "monitoring/trace.html", {"found": found, "trace": trace, "rows": rows, "trace_id": trace.first.line.trace_id}


def _latest_requests(request: HttpRequest) -> tuple[str, dict[str, Any]]:
    only_failed = _chosen(request, "only", {"failed": True}, False)
    service_name = request.GET.get("service", "")
    found = tracesearch.latest(conf.TRACE_LOGS, LATEST, service_name, only_failed)
    return "monitoring/traces.html", {"found": found, "only_failed": only_failed, "service_name": service_name}


def content_security_policy(asset_url: str) -> str:
    """The policy of the pages: their own static files, which may lie on another host (STATIC_URL), and nothing else."""
    parts = urlsplit(asset_url)
    assets = f"'self' {parts.scheme or 'https'}://{parts.netloc}" if parts.netloc else "'self'"
    return (
        f"default-src 'none'; style-src {assets}; script-src {assets}; img-src {assets} data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _for_staff(view: Callable[..., HttpResponse], request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """The view's answer to staff; everybody else is sent to the admin's log-in, or without an admin to LOGIN_URL."""
    login_url = _admin_url("login")
    if login_url is None and request.user.is_authenticated and not request.user.is_staff:
        raise PermissionDenied("These pages are for staff users.")  # a log-in page of the project's may send them back here
    guard = user_passes_test(lambda user: user.is_active and user.is_staff, login_url=login_url)

    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except UnknownParameter as error:
            return render(request, "monitoring/message.html", {"title": "No such page", "message": str(error)}, status=404)
        except Http404 as error:
            return render(request, "monitoring/message.html", {"title": "No such service", "message": str(error)}, status=404)

    return guard(answer)(request, *args, **kwargs)


def _chosen(request: HttpRequest, name: str, choices: dict[str, Choice], default: Choice) -> Choice:
    """What the query parameter names; the default where it is absent. Raises UnknownParameter."""
    given = request.GET.getlist(name)
    if not given:
        return default
    if len(given) > 1 or given[0] not in choices:
        raise UnknownParameter(f"“{name}” in the address is {' and '.join(given)[:100]!r}: it can be {', '.join(choices)}.")
    return choices[given[0]]


def _admin_url_for(request: HttpRequest, model: str) -> str | None:
    """The address of a model's list in the admin; None for who may not see it."""
    allowed = any(request.user.has_perm(f"monitoring.{verb}_{model}") for verb in ("view", "change"))
    return _admin_url(f"monitoring_{model}_changelist") if allowed else None


def _admin_url(name: str, *args: Any) -> str | None:
    """The address of an admin page; None where the project has no admin."""
    try:
        return reverse(f"admin:{name}", args=args)
    except NoReverseMatch:
        return None
