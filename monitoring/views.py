"""What a watched service exposes: its metrics document."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from monitoring import exposition
from monitoring.conf import conf
from monitoring.service import request_metrics

_CLOSED = (
    'The metrics of this service are closed. In its settings, set MONITORING["METRICS_TOKEN"] and send it as'
    " “Authorization: Bearer …”, or declare the metrics open to everybody who reaches the service with"
    ' MONITORING["METRICS_PUBLIC"] = True.\n'
)
_UNAUTHORIZED = 'The bearer token is missing or wrong: send MONITORING["METRICS_TOKEN"] as “Authorization: Bearer …”.\n'
_PLAIN_TEXT = "text/plain; charset=utf-8"


@csrf_exempt
@require_safe
@never_cache
@vary_on_headers("Accept")
def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics document (docs/architecture.md, "Metrics document"), to those who may read it."""
    refusal = _refusal(request.META.get("HTTP_AUTHORIZATION", ""))
    if refusal is not None:
        return refusal
    wanted = request.GET.get("format") or _preferred_format(request)
    if wanted not in ("json", "prometheus"):
        return HttpResponse("The format is unknown: ?format= can be json or prometheus.\n", status=400, content_type=_PLAIN_TEXT)
    try:
        document = request_metrics().snapshot()
    except OSError as error:
        return HttpResponse(f"The counters cannot be read: {error}\n", status=503, content_type=_PLAIN_TEXT)
    if wanted == "prometheus":
        return HttpResponse(exposition.to_prometheus(document), content_type=exposition.PROMETHEUS_CONTENT_TYPE)
    return HttpResponse(exposition.to_json(document), content_type=exposition.JSON_CONTENT_TYPE)


# Works under LoginRequiredMiddleware, and does not count itself.
metrics.login_required = False  # type: ignore[attr-defined]
metrics.monitoring_exclude = True  # type: ignore[attr-defined]


def _preferred_format(request: HttpRequest) -> str:
    """Prometheus asks for its text format, with a version; whoever takes anything gets JSON."""
    preferred = request.get_preferred_type([exposition.JSON_CONTENT_TYPE, "text/plain;version=0.0.4"])
    return "prometheus" if preferred is not None and preferred.startswith("text/plain") else "json"


def _refusal(authorization: str) -> HttpResponse | None:
    if conf.METRICS_PUBLIC:
        return None
    token = conf.METRICS_TOKEN
    if token is None:
        return None if conf.debug else HttpResponse(_CLOSED, status=403, content_type=_PLAIN_TEXT)
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer" and constant_time_compare(credentials.strip(), token):
        return None
    response = HttpResponse(_UNAUTHORIZED, status=401, content_type=_PLAIN_TEXT)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response
