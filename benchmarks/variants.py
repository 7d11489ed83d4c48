"""The settings that are compared: each is a Django project with one view that does nothing, and what it is measured with."""

from __future__ import annotations

import os
import tempfile
from typing import Any

OURS = "monitoring.middleware."

MIDDLEWARE: dict[str, list[str]] = {
    "nothing": [],
    "empty": ["benchmarks.variants.EmptyMiddleware"],
    "ours: metrics": [OURS + "MetricsMiddleware"],
    "ours: metrics and tracing": [OURS + "MetricsMiddleware", OURS + "TracingMiddleware"],
    "ours: metrics and tracing, log on disk": [OURS + "MetricsMiddleware", OURS + "TracingMiddleware"],
    "django-prometheus": [
        "django_prometheus.middleware.PrometheusBeforeMiddleware",
        "django_prometheus.middleware.PrometheusAfterMiddleware",
    ],
    "django-prometheus, multiprocess": [
        "django_prometheus.middleware.PrometheusBeforeMiddleware",
        "django_prometheus.middleware.PrometheusAfterMiddleware",
    ],
    "OpenTelemetry: traces and metrics": [],
    "django-silk": ["silk.middleware.SilkyMiddleware"],
}


def EmptyMiddleware(get_response: Any) -> Any:
    """The floor: a middleware for both sides that does nothing."""
    from asgiref.sync import iscoroutinefunction

    if iscoroutinefunction(get_response):

        async def middleware(request: Any) -> Any:
            return await get_response(request)
    else:

        def middleware(request: Any) -> Any:
            return get_response(request)

    return middleware


EmptyMiddleware.sync_capable = EmptyMiddleware.async_capable = True  # type: ignore[attr-defined]


def configure(variant: str, folder: str, disk: str) -> None:
    """Set Django up for a variant; what it writes goes below `folder`, only a log on disk below `disk`."""
    if variant == "django-prometheus, multiprocess":
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(dir=folder)
    from django.conf import settings

    extra: dict[str, Any] = {}
    apps: list[str] = []
    if variant.startswith("django-prometheus"):
        apps = ["django_prometheus"]
    elif variant == "django-silk":
        apps = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "silk"]
        extra["DATABASES"] = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(folder, "silk.sqlite3")}}
        extra["TEMPLATES"] = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
    settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="benchmarks.urls",
        INSTALLED_APPS=apps,
        MIDDLEWARE=MIDDLEWARE[variant],
        LOGGING_CONFIG=None,
        MONITORING={
            "SERVICE_NAME": "benchmark",
            "STATE_DIR": tempfile.mkdtemp(dir=folder),
            "TRACE_LOG": os.path.join(disk if variant.endswith("on disk") else folder, "trace.log"),
            "METRICS_PUBLIC": True,
        },
        **extra,
    )
    if variant.startswith("OpenTelemetry"):
        _instrument_with_opentelemetry()
    import django

    django.setup()
    if variant == "django-silk":
        from django.core.management import call_command

        call_command("migrate", verbosity=0)


def _instrument_with_opentelemetry() -> None:
    """As its documentation sets it up for production: batched spans, a periodic metric reader; exporters that drop everything."""
    from opentelemetry import metrics, trace
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class DroppingSpans(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    class DroppingMetrics(MetricExporter):
        def export(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
            return MetricExportResult.SUCCESS

        def force_flush(self, timeout_millis: float = 10_000) -> bool:
            return True

        def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
            pass

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(DroppingSpans()))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(DroppingMetrics())]))
    DjangoInstrumentor().instrument()
