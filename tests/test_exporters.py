"""Between requests and exporters: queues that never wait, the file of spans, and what survives forks and exits."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.instrument import exporting, otlp
from monitoring.instrument.exporters import FileExporter, Trace
from monitoring.instrument.exporting import ExportQueue, FinishedRequest
from monitoring.instrument.spans import Options, RequestSpan, Span

PROJECT = Path(__file__).resolve().parent.parent


def request_span(children=0):
    current = RequestSpan("a" * 32, "b" * 16, Options(service_name="shop", exports=True))
    current.name, current.started, current.started_at, current.ended = "GET /", 100.0, 1_700_000_000.25, 100.5
    current.keep_children()
    for number in range(children):
        child = Span(current, f"child {number}", current.span_id)
        child.started, child.ended = 100.125, 100.25
        current.children.append(child)
    return current


class Collecting:
    def __init__(self):
        self.traces = []

    def export(self, traces):
        self.traces.extend(traces)


def test_traces_arrive_whole_and_in_order():
    exporter = Collecting()
    queue = ExportQueue(exporter)
    for number in range(1000):
        one = request_span(children=2)
        one.name = str(number)
        queue.put(FinishedRequest(one))
    assert queue.flush(30)
    assert [trace.spans[0].name for trace in exporter.traces] == [str(number) for number in range(1000)]
    assert all(len(trace.spans) == 3 for trace in exporter.traces)


def test_what_comes_later_wakes_the_thread_again():
    class Signalling(Collecting):
        arrived = threading.Semaphore(0)

        def export(self, traces):
            super().export(traces)
            self.arrived.release()

    exporter = Signalling()
    queue = ExportQueue(exporter)
    for _ in range(3):  # no flush: the thread has to wake by itself
        queue.put(FinishedRequest(request_span()))
        assert exporter.arrived.acquire(timeout=30)
    assert len(exporter.traces) == 3


def test_many_threads_put_and_nothing_is_lost():
    exporter = Collecting()
    queue = ExportQueue(exporter)

    def put():
        for _ in range(200):
            queue.put(FinishedRequest(request_span()))

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.flush(30)
    assert len(exporter.traces) == 1600


def test_two_exporters_get_the_same_spans():
    first, second = Collecting(), Collecting()
    finished = FinishedRequest(request_span(children=1))
    for exporter in (first, second):
        queue = ExportQueue(exporter)
        queue.put(finished)
        assert queue.flush(30)
    assert first.traces[0] is second.traces[0]


def test_an_exporter_that_ends_its_thread_gets_the_next_traces(caplog):
    class Exiting(Collecting):
        def export(self, traces):
            super().export(traces)
            if len(self.traces) == 1:
                raise SystemExit

    exporter = Exiting()
    queue = ExportQueue(exporter)
    for _ in range(2):
        queue.put(FinishedRequest(request_span()))
        assert queue.flush(30)
    assert len(exporter.traces) == 2
    assert "Exiting failed" in caplog.text


def test_a_full_queue_drops_says_so_and_goes_on(monkeypatch, caplog):
    monkeypatch.setattr(exporting, "MAX_QUEUED", 10)
    hold, held = threading.Event(), threading.Event()

    class Slow(Collecting):
        def export(self, traces):
            held.set()
            assert hold.wait(30)
            super().export(traces)

    exporter = Slow()
    queue = ExportQueue(exporter)
    queue.put(FinishedRequest(request_span()))
    assert held.wait(30)
    for _ in range(15):
        queue.put(FinishedRequest(request_span()))
    assert queue.dropped == 5
    assert not queue.flush(0.01)
    hold.set()
    assert queue.flush(30)
    assert len(exporter.traces) == 11
    assert "does not keep up" in caplog.text


def test_a_child_process_exports_its_own_and_not_the_parents(tmp_path):
    queue = ExportQueue(FileExporter(tmp_path / "spans.jsonl"))
    queue.put(FinishedRequest(request_span()))
    child = os.fork()
    if child == 0:
        own = request_span()
        own.name = "of the child"
        queue.put(FinishedRequest(own))
        os._exit(0 if queue.flush(30) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert queue.flush(30)
    names = [span["name"] for span in spans_in(tmp_path / "spans.jsonl")]
    assert sorted(names) == ["GET /", "of the child"]


def spans_in(path):
    documents = [json.loads(line) for line in path.read_text().splitlines()]
    return [span for one in documents for span in one["resourceSpans"][0]["scopeSpans"][0]["spans"]]


def test_a_process_that_ends_exports_what_waits(tmp_path):
    program = f"""
import sys
sys.path.insert(0, {str(PROJECT)!r})
from tests.test_exporters import *
queue = ExportQueue(FileExporter({str(tmp_path / "spans.jsonl")!r}))
queue.put(FinishedRequest(request_span(children=2)))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert len(spans_in(tmp_path / "spans.jsonl")) == 3


def test_a_process_ends_although_its_exporter_hangs():
    program = f"""
import sys, threading
sys.path.insert(0, {str(PROJECT)!r})
from tests.test_exporters import *
class Hanging:
    def export(self, traces):
        threading.Event().wait()
queue = ExportQueue(Hanging())
queue.put(FinishedRequest(request_span()))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def write(path, number):
    exporter = FileExporter(path)
    for _ in range(100):
        exporter.export([Trace(f"service-{number}", (request_span(children=20),))])


def test_lines_of_many_processes_never_mix(tmp_path):
    path = tmp_path / "spans.jsonl"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write, args=(path, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(spans_in(path)) == 300


def test_a_span_in_opentelemetrys_json():
    current = request_span()
    current.parent_span_id, current.tracestate, current.error = "c" * 16, "x=1", "ValueError"
    current.attributes = {
        "text": "a",
        "yes": True,
        "count": 3,
        "share": 0.5,
        "nan": float("nan"),
        "inf": float("-inf"),
        "list": ("a", 1),
    }
    current.ended = None
    current.add_event("happened", why="because")
    current.ended = 100.5
    text = otlp.encode("shop", [current])
    (found,) = json.loads(text)["resourceSpans"]
    assert {"key": "service.name", "value": {"stringValue": "shop"}} in found["resource"]["attributes"]
    (span,) = found["scopeSpans"][0]["spans"]
    (event,) = span.pop("events")
    assert event["name"] == "happened"
    assert event["attributes"] == [{"key": "why", "value": {"stringValue": "because"}}]
    assert span == {
        "traceId": "a" * 32,
        "spanId": "b" * 16,
        "parentSpanId": "c" * 16,
        "traceState": "x=1",
        "name": "GET /",
        "kind": 2,
        "startTimeUnixNano": "1700000000250000000",
        "endTimeUnixNano": "1700000000750000000",
        "flags": 0x303,
        "attributes": [
            {"key": "text", "value": {"stringValue": "a"}},
            {"key": "yes", "value": {"boolValue": True}},
            {"key": "count", "value": {"intValue": "3"}},
            {"key": "share", "value": {"doubleValue": 0.5}},
            {"key": "nan", "value": {"doubleValue": "NaN"}},
            {"key": "inf", "value": {"doubleValue": "-Infinity"}},
            {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}}},
        ],
        "status": {"code": 2},
    }
    assert "NaN" not in text.replace('"NaN"', "")


def test_a_file_that_cannot_be_written_is_said_once(caplog):
    exporter = FileExporter("/nowhere/at/all/spans.jsonl")
    for _ in range(3):
        exporter.export([Trace("shop", (request_span(),))])
    assert caplog.text.count("file of spans /nowhere/at/all/spans.jsonl cannot be written") == 1


@pytest.mark.parametrize("kind", ["internal", "server", "client"])
def test_every_kind_has_its_number(kind):
    current = request_span()
    current.kind = kind
    assert json.loads(otlp.encode("shop", [current]))["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["kind"] in (1, 2, 3)


@given(st.text(), st.text(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_is_in_a_span_is_json_on_one_line(text, name, number, share):
    current = request_span()
    current.name, current.attributes = name, {text: text, "number": number, "share": share}
    line = otlp.encode(text, [current])
    assert len(line.splitlines()) == 1
    span = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert span["name"] == name
    found = {item["key"]: item["value"] for item in span["attributes"]}
    assert found["number"] == {"intValue": str(number)}
    assert found["share"] == {"doubleValue": share}
    assert text in ("number", "share") or found[text] == {"stringValue": text}
