"""Alloy's configuration takes every line apart as monitoring.tracelines does, and sets what the dashboards' LogQL asks for."""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.instrument.logs import JSONFormatter, TraceContextFilter
from monitoring.tracelines import TraceLine, json_line, parse_duration, parse_line, text_line
from tests.grafana import alloy
from tests.grafana.dashboards import DASHBOARDS, FOLDER, targets

BLOCKS = alloy.parse((FOLDER / "config.alloy").read_text(encoding="utf-8"))
PROCESSES = {block.label: block for block in BLOCKS if block.name == "loki.process"}
SAMPLES = [
    line
    for path in sorted((Path(__file__).parent / "samples").glob("*.log"))
    for line in path.read_text(encoding="utf-8").splitlines()
]
OURS = [
    TraceLine(
        1732260000.0, "shop", "8678e9fefec54a2f9db19906b06c4dc8", "04594a05d0634aab", "", "GET", "/items/7/", 0.0006398, 200
    ),
    TraceLine(1732260001.0, "stock room", "a" * 32, "b" * 16, "c" * 16, "POST", "/a, Duration: 9s, Status: 999", 3723.5, 500),
    TraceLine(1732260002.0, "é, Path", "a" * 32, "b" * 16, "c" * 16, "DELETE", '/"quoted"\\ 漢字 {x}', 0.0, 404),
    TraceLine(1732260003.0, "shop", "a" * 32, "b" * 16, "", "GET", "/line\nbreak\u2028", 1.2, 200),
    TraceLine(1732260004.0, "{shop}", "a" * 32, "b" * 16, "", "GET", "", 5e-9, 200),
]
BOUNDED = {"job", "filename", "service_name", "level"}
FILENAME = "/var/log/trace/test-server1.log"


def trace_entry(line: str) -> alloy.Entry:
    return alloy.process(PROCESSES["trace"], line.rstrip("\n"), {"job": "trace", "filename": FILENAME})


def app_entry(line: str) -> alloy.Entry:
    return alloy.process(PROCESSES["app"], line, {"job": "app", "filename": "/var/log/app/shop.log"})


def assert_taken_apart(line: str) -> None:
    wanted, entry = parse_line(line), trace_entry(line)
    assert entry.labels == {"job": "trace", "filename": FILENAME, "service_name": wanted.service_name}
    assert entry.timestamp == datetime.fromtimestamp(wanted.moment, timezone.utc)
    duration = entry.metadata.pop("duration")
    assert (float(duration) if line.startswith("{") else parse_duration(duration)) == wanted.duration
    assert entry.metadata == {
        "trace_id": wanted.trace_id,
        "span_id": wanted.span_id,
        "parent_span_id": wanted.parent_span_id,
        "method": wanted.method,
        "status": str(wanted.status),
    }


def test_all_samples_are_there() -> None:
    assert len(SAMPLES) == 80
    assert any("µs" in line for line in SAMPLES)


@pytest.mark.parametrize("line", SAMPLES)
def test_a_line_of_the_gin_service(line: str) -> None:
    assert_taken_apart(line)
    assert_taken_apart(json_line(parse_line(line)))


@pytest.mark.parametrize("line", OURS, ids=lambda line: repr(line.path))
def test_a_line_of_ours(line: TraceLine) -> None:
    assert_taken_apart(text_line(line))
    assert_taken_apart(json_line(line))


@given(st.text(max_size=60), st.text(st.characters(exclude_characters=","), min_size=1, max_size=10))
def test_any_path_and_any_method(path: str, method: str) -> None:
    line = TraceLine(1732260000.0, "shop", "a" * 32, "b" * 16, "", method, path, 0.5, 200)
    assert trace_entry(text_line(line)).metadata["duration"] == "500ms"
    assert trace_entry(json_line(line)).metadata["trace_id"] == "a" * 32


@pytest.mark.parametrize("line", ["", "Traceback (most recent call last):", "{", "2024/10/07 05:24:19 listening on :8080"])
def test_another_line_is_kept_without_metadata(line: str) -> None:
    entry = trace_entry(line)
    assert (entry.line, entry.labels, entry.metadata) == (line, {"job": "trace", "filename": FILENAME}, {})


def log_line(level: int, message: str, **extra: object) -> str:
    record = logging.getLogger("shop.orders").makeRecord("shop.orders", level, __file__, 1, message, (), None, extra=extra)
    TraceContextFilter().filter(record)
    record.trace_id, record.span_id = extra.get("trace", ""), "b" * 16
    return JSONFormatter().format(record)


def test_an_application_log_line() -> None:
    line = log_line(logging.ERROR, "No stock,\nnone", trace="a" * 32)
    entry = app_entry(line)
    assert entry.labels == {"job": "app", "filename": "/var/log/app/shop.log", "service_name": "shop", "level": "ERROR"}
    assert entry.metadata == {"trace_id": "a" * 32, "span_id": "b" * 16, "logger": "shop.orders"}
    assert entry.timestamp == datetime.strptime(json.loads(line)["time"], "%Y-%m-%dT%H:%M:%S.%f%z")


def test_an_application_log_line_outside_a_request_still_names_its_service() -> None:
    assert app_entry(log_line(logging.INFO, "started")).labels["service_name"] == "shop"
    assert app_entry("not JSON").labels == {"job": "app", "filename": "/var/log/app/shop.log", "service_name": "shop"}


def set_by(job: str) -> tuple[set[str], set[str]]:
    """Labels and structured metadata of a job's lines."""
    stages = PROCESSES[job].blocks
    names = {
        kind: {name for stage in stages if stage.name == kind for name in stage.attributes["values"]}
        for kind in ("stage.labels", "stage.structured_metadata")
    }
    return names["stage.labels"] | {"job", "filename"}, names["stage.structured_metadata"]


@pytest.mark.parametrize("job", ["trace", "app"])
def test_labels_are_what_is_bounded(job: str) -> None:
    labels, metadata = set_by(job)
    assert labels <= BOUNDED
    assert {"trace_id", "span_id"} <= metadata


def test_every_file_of_a_job_goes_to_its_stages_and_on_to_loki() -> None:
    def named(kind: str) -> dict[str, alloy.Block]:
        return {block.label: block for block in BLOCKS if block.name == kind}

    assert named("loki.write").keys() == {"loki"}
    for job, files in named("local.file_match").items():
        (target,) = files.attributes["path_targets"]
        assert target == {"__path__": f"/var/log/{job}/*.log", "job": job}
        source = named("loki.source.file")[job]
        assert source.attributes == {"targets": f"local.file_match.{job}.targets", "forward_to": [f"loki.process.{job}.receiver"]}
        assert PROCESSES[job].attributes == {"forward_to": ["loki.write.loki.receiver"]}


LOGQL = [(dashboard, target["expr"]) for dashboard, _panel, target in targets() if target["datasource"]["type"] == "loki"]
LOGQL += [
    ("docs/grafana.md", line.strip())
    for line in (FOLDER.parent / "docs/grafana.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("    {")
]


@pytest.mark.parametrize(("dashboard", "expression"), LOGQL)
def test_logql_names_only_what_alloy_sets(dashboard: str, expression: str) -> None:
    match = re.fullmatch(r'\{(.*?)\}((?: \| \w+=~?"[^"]*")*)', expression)
    assert match is not None
    selected = dict(re.findall(r'(\w+)=~?"([^"]*)"', match[1]))
    labels, metadata = set_by(selected.get("job", "trace"))
    assert selected.keys() <= labels
    assert set(re.findall(r"\| (\w+)=", match[2])) <= metadata


def test_the_services_are_a_label_of_the_trace_log() -> None:
    queries = [variable["query"] for variable in DASHBOARDS["trace"]["templating"]["list"] if variable["type"] == "query"]
    assert [(query["stream"], query["label"]) for query in queries] == [('{job="trace"}', "service_name")]
    assert "service_name" in set_by("trace")[0]


@pytest.mark.parametrize("text", ['a = "b', "a {", "a { b }", "a = [1]", 'a = ["x" "y"]', "}"])
def test_the_interpreter_refuses_what_is_no_configuration(text: str) -> None:
    with pytest.raises((ValueError, IndexError, KeyError)):
        alloy.parse(text)
