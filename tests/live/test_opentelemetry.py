"""One trace through real processes: ours, one instrumented with OpenTelemetry, and one that speaks X-headers only."""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from tests.live.servers import free_port, running, serving, started, wait_for

PROJECT = Path(__file__).resolve().parent.parent.parent

COMMON = """
import json, os, sys
from django.conf import settings
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

name, folder = os.environ["NAME"], os.environ["FOLDER"]
COMMON = dict(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, DEBUG=False)

def hop(request):
    \"\"\"Call the first of the addresses, which shall call the others.\"\"\"
    then = request.GET.getlist("then")
    session.trust_env = False
    answer = session.get(then[0], params={"then": then[1:]}, timeout=30).json() if then else []
    return JsonResponse([name, *answer], safe=False)

urlpatterns = [path("hop", hop), path("up", lambda request: JsonResponse({}))]
"""

OURS = (
    COMMON
    + """
settings.configure(
    **COMMON,
    MIDDLEWARE=["monitoring.middleware.MetricsMiddleware", "monitoring.middleware.TracingMiddleware"],
    MONITORING={
        "SERVICE_NAME": name,
        "STATE_DIR": os.path.join(folder, "state", name),
        "TRACE_LOG": os.path.join(folder, name + ".log"),
        "EXPORTERS": [{
            "BACKEND": "monitoring.instrument.exporters.FileExporter",
            "OPTIONS": {"path": os.path.join(folder, name + ".ours.jsonl")},
        }],
        "EXCLUDE_PATHS": ["/up"],
    },
)
from monitoring.instrument.outgoing import TracingSession
session = TracingSession()
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
)

THEIRS = (
    COMMON
    + """
settings.configure(**COMMON, MIDDLEWARE=[])
import requests
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

provider = TracerProvider()
out = open(os.path.join(folder, name + ".theirs.jsonl"), "a", buffering=1)
provider.add_span_processor(
    SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None) + os.linesep))
)
trace.set_tracer_provider(provider)
DjangoInstrumentor().instrument()
RequestsInstrumentor().instrument()
session = requests.Session()
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
)


@contextmanager
def service(name: str, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of its view: a gunicorn worker with threads, for a hop may come back to the same service."""
    (folder / f"app_{name}.py").write_text(source)
    address, log = f"127.0.0.1:{free_port()}", folder / f"{name}.out"
    command = [sys.executable, "-m", "gunicorn", "--threads", "8", "--bind", address, "--chdir", str(folder)]
    monkeypatch.setenv("NAME", name)
    monkeypatch.setenv("FOLDER", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    with running([*command, f"app_{name}:application"], log) as process:
        started(process, log, f"http://{address}/up")
        yield f"http://{address}/hop"


class GinLike(BaseHTTPRequestHandler):
    """Does what the Gin service's middleware does: X-headers in and out, UUIDs, and nothing else."""

    server: GinServer

    def do_GET(self) -> None:
        trace_id = self.headers.get("X-Trace-ID") or str(uuid.uuid4())
        span_id, parent = str(uuid.uuid4()), self.headers.get("X-Span-ID", "")
        then = parse_qs(urlsplit(self.path).query).get("then", [])
        answer = ["gin"]
        if then:
            with requests.Session() as session:
                session.trust_env = False
                headers = {"X-Trace-ID": trace_id, "X-Span-ID": span_id}
                answer += session.get(then[0], params={"then": then[1:]}, headers=headers, timeout=30).json()
        self.server.seen.append({"service": "gin", "trace": trace_id, "span": span_id, "parent": parent})
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the base class's name)
        pass


class GinServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), GinLike)
        self.seen: list[dict[str, str]] = []


def ask(hops: list[str]) -> list[str]:
    with requests.Session() as session:
        session.trust_env = False
        response = session.get(f"{hops[0]}?{urlencode({'then': hops[1:]}, doseq=True)}", timeout=60)
    assert response.status_code == 200, response.text
    return list(response.json())


def spans_in(folder: Path) -> list[dict[str, Any]]:
    """All spans of all services, in one form."""
    found = []
    for file in folder.glob("*.ours.jsonl"):
        for line in file.read_text().splitlines():
            for span in json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]:
                kind = {1: "internal", 2: "server", 3: "client"}[span["kind"]]
                found.append(
                    {
                        "service": file.name.partition(".")[0],
                        "kind": kind,
                        "trace": span["traceId"],
                        "span": span["spanId"],
                        "parent": span.get("parentSpanId", ""),
                    }
                )
    for file in folder.glob("*.theirs.jsonl"):
        for line in file.read_text().splitlines():
            span = json.loads(line)
            if "/up" not in json.dumps(span["attributes"]):
                found.append(
                    {
                        "service": file.name.partition(".")[0],
                        "kind": span["kind"].removeprefix("SpanKind.").lower(),
                        "trace": span["context"]["trace_id"].removeprefix("0x"),
                        "span": span["context"]["span_id"].removeprefix("0x"),
                        "parent": (span["parent_id"] or "").removeprefix("0x"),
                    }
                )
    return found


def chain(spans: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Service and kind of each span, from the root along the parents."""
    by_parent = {span["parent"]: span for span in spans}
    assert len(by_parent) == len(spans), spans
    found, span = [], by_parent.get("")
    while span is not None:
        found.append((span["service"], span["kind"]))
        span = by_parent.get(span["span"])
    return found


def wait_for_spans(folder: Path, number: int) -> list[dict[str, Any]]:
    def arrived() -> list[dict[str, Any]]:
        found = spans_in(folder)
        return found if len(found) >= number else []

    return wait_for(arrived, what=f"{number} spans")


def test_opentelemetry_and_we_continue_each_others_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        ours = stack.enter_context(service("ours", OURS, tmp_path, monkeypatch))
        theirs = stack.enter_context(service("theirs", THEIRS, tmp_path, monkeypatch))
        assert ask([ours, theirs, ours, theirs]) == ["ours", "theirs", "ours", "theirs"]
        spans = wait_for_spans(tmp_path, 7)
    assert len({span["trace"] for span in spans}) == 1
    assert chain(spans) == [
        ("ours", "server"),
        ("ours", "client"),
        ("theirs", "server"),
        ("theirs", "client"),
        ("ours", "server"),
        ("ours", "client"),
        ("theirs", "server"),
    ]


def test_a_service_that_only_speaks_x_headers_is_part_of_the_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        ours = stack.enter_context(service("ours", OURS, tmp_path, monkeypatch))
        server = GinServer()
        gin = stack.enter_context(serving(server)) + "/hop"
        assert ask([gin, ours, gin, ours]) == ["gin", "ours", "gin", "ours"]
        spans = wait_for_spans(tmp_path, 3)
    last, first = server.seen[0], server.seen[1]  # in the order in which they ended
    (traced,) = {span["trace"] for span in spans}
    assert first["trace"] == last["trace"]
    assert traced == first["trace"].replace("-", "")

    requests_ = {span["parent"]: span for span in spans if span["kind"] == "server"}
    middle = requests_[first["span"].replace("-", "")[:16]]
    assert last["parent"] == middle["span"]
    assert last["span"].replace("-", "")[:16] in requests_

    lines = re.findall(r"TraceID: (\S+), SpanID: (\S+), ParentSpanID: (\S*),", (tmp_path / "ours.log").read_text())
    assert {(trace, parent) for trace, _span, parent in lines} == {
        (first["trace"], first["span"]),
        (first["trace"], last["span"]),
    }
