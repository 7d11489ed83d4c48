"""For the tests of what is traced: an exporter that keeps, and views that do something worth a span."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

from django.db import connection, connections
from django.http import HttpResponse, JsonResponse
from django.urls import path

from monitoring.instrument.exporting import flush
from monitoring.instrument.outgoing import trace_headers
from monitoring.instrument.tracing import current_span, span, with_current_span

logger = logging.getLogger("shop")
misfits = logging.getLogger("shop.misfits")
misfits.addFilter(lambda record: False)  # pytest's own handlers raise where arguments do not fit


class KeepingExporter:
    """Keeps all traces that it gets, of all of its kind."""

    traces = []

    def __init__(self, **options):
        pass

    def export(self, traces):
        self.traces.extend(traces)


class RaisingExporter:
    def export(self, traces):
        raise ValueError("no way")


class HangingExporter:
    """Hangs until it is released."""

    released = threading.Event()
    entered = threading.Event()

    def export(self, traces):
        self.entered.set()
        self.released.wait()


def exported():
    """The traces that KeepingExporter got since the last call."""
    assert flush(30)
    found, KeepingExporter.traces[:] = list(KeepingExporter.traces), []
    return found


def keeping(**settings):
    """MONITORING with that exporter."""
    return {"SERVICE_NAME": "shop", "EXPORTERS": [{"BACKEND": "tests.traced.KeepingExporter"}], **settings}


def run_sql(sql, params=(), using="default"):
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall()


def plain(request):
    return HttpResponse("plain")


def queries(request):
    run_sql("SELECT %s AS a", ["secret"])
    with span("inner", kind_of="test", items=3):
        run_sql("SELECT %s AS b", ["secret"])
    return HttpResponse()


async def async_queries(request):
    from asgiref.sync import sync_to_async

    await sync_to_async(run_sql)("SELECT %s AS a", ["secret"])
    async with span("inner", kind_of="test", items=3):
        await sync_to_async(run_sql)("SELECT %s AS b", ["secret"])
    return HttpResponse()


def n_plus_one(request):
    for number in range(100):
        run_sql("SELECT %s AS n", [number])
    return HttpResponse()


def flooding(request):
    for number in range(1000):
        run_sql(f"SELECT {number} AS n")
        with span("step", text="x" * 5000):
            pass
    return HttpResponse()


def huge_sql(request):
    run_sql("SELECT '" + "x" * 1_000_000 + "'")
    return HttpResponse()


def broken_sql(request):
    try:
        run_sql("SELECT * FROM nowhere WHERE secret = %s", ["secret"])
    except Exception:
        logger.exception("No such %s", "table")
    return HttpResponse()


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def failing(request):
    logger.warning("about to fail")
    with span("inner"):
        raise ValueError("a bug at postgres://user:secret@db/shop and https://api.example.com/x?token=secret")


async def async_failing(request):
    logger.warning("about to fail")
    async with span("inner"):
        raise ValueError("a bug")


def unprintable(request):
    raise Unprintable


def refusing(request):
    return HttpResponse(status=503)


def marked(request):
    current_span().set_error("shop.SoldOut")
    return HttpResponse()


def slow(request):
    time.sleep(0.02)
    return HttpResponse()


def logging_view(request):
    logger.info("below the level")
    logger.warning("out of %s at https://user:secret@example.com/?q=secret", "stock")
    misfits.error("%d fits not", "this")
    with span("inner"):
        logger.error("in the inner span")
    return HttpResponse()


def log_flood(request):
    for number in range(1000):
        logger.warning("%d %s", number, "x" * 10_000)
    return HttpResponse()


def left_open(request):
    span("left open").__enter__()
    return HttpResponse()


def threads(request):
    def work(name):
        with span(name):
            return current_span().trace_id

    ids = []
    workers = [threading.Thread(target=with_current_span(lambda n=n: ids.append(work(f"in thread {n}")))) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return JsonResponse({"ids": ids})


async def tasks(request):
    async def work(number):
        async with span(f"task {number}"):
            await asyncio.sleep(0)
            return current_span().trace_id

    ids = await asyncio.gather(*(work(number) for number in range(4)), asyncio.to_thread(lambda: current_span().trace_id))
    return JsonResponse({"ids": ids})


def hop(request):
    """The headers that a call from here would carry."""
    return JsonResponse(trace_headers("http://next.example.com/"))


def savepoints(request):
    from django.db import transaction

    with transaction.atomic():
        for _ in range(20):
            with transaction.atomic():
                pass
    return HttpResponse()


def other_database(request):
    run_sql("SELECT 1", using="other")
    with connection.cursor() as cursor:
        cursor.executemany("SELECT %s", [])
    return HttpResponse()


urlpatterns = [
    path(f"{view.__name__}/", view)
    for view in (
        plain, queries, async_queries, n_plus_one, flooding, huge_sql, broken_sql, failing, async_failing, unprintable, refusing,
        marked,
        slow, logging_view, log_flood, left_open, threads, tasks, hop, savepoints, other_database,
    )
]  # fmt: skip
