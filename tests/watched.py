"""A small watched service for the tests of the middlewares: its URLs, with every kind of view."""

from __future__ import annotations

import asyncio

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path, re_path

from monitoring.instrument.tracing import current_span


def item(request, **kwargs):
    return HttpResponse("item")


def failing(request):
    raise ValueError("a bug")


def span_ids(request):
    span = current_span()
    return HttpResponse("" if span is None else f"{span.trace_id} {span.span_id}")


async def async_span_ids(request):
    await asyncio.sleep(0)
    span = current_span()
    return HttpResponse("" if span is None else f"{span.trace_id} {span.span_id}")


async def async_failing(request):
    raise ValueError("a bug")


async def hanging(request):
    await asyncio.Event().wait()


def streaming(request):
    return StreamingHttpResponse(iter([b"a", b"b"]))


nested = [re_path(r"^(?P<year>[0-9]{4})/(?:page-(\d+)/)?$", item), path("plain/", span_ids)]

urlpatterns = [
    path("items/<int:pk>/", item),
    path("failing/", failing),
    path("span/", span_ids),
    path("async-span/", async_span_ids),
    path("async-failing/", async_failing),
    path("hanging/", hanging),
    path("streaming/", streaming),
    path("nested/", include(nested)),
    re_path(r"^articles/(?P<year>[0-9]{4})/(?P<slug>[\w-]+)/$", lambda request, year, slug: HttpResponse("article")),
    path("", include("monitoring.urls")),
]
