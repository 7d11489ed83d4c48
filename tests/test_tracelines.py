"""The lines of a trace log, in both forms, in and out."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring import tracelines

GIN_LINES = [line for path in sorted((Path(__file__).parent / "samples").glob("*.log")) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (9e-9, "9ns"),
        (26e-6, "26µs"),
        (639.8e-6, "639.8µs"),
        (1.001e-6, "1.001µs"),
        (700.05e-6, "700.05µs"),
        (999.999e-6, "999.999µs"),
        (0.0047664, "4.7664ms"),
        (0.1, "100ms"),
        (0.9999999999, "1s"),
        (1.2, "1.2s"),
        (62.5, "1m2.5s"),
        (60, "1m0s"),
        (3600, "1h0m0s"),
        (86400 + 1.000000001, "24h0m1.000000001s"),
    ],
)
def test_a_duration_is_printed_as_go_prints_it(seconds, text):
    assert tracelines.format_duration(seconds) == text
    assert tracelines.parse_duration(text) == pytest.approx(max(seconds, 0), abs=1e-9)


def test_a_gin_services_line_is_parsed_and_written_byte_for_byte():
    assert len(GIN_LINES) == 80
    for text in GIN_LINES:
        line = tracelines.parse_line(text)
        assert tracelines.text_line(line) == text + "\n"
        assert tracelines.parse_line(tracelines.json_line(line)) == line


def test_what_a_line_says():
    line = tracelines.parse_line(GIN_LINES[0])
    assert line == tracelines.TraceLine(
        moment=1728278659.0,
        service_name="test-server1",
        trace_id="8678e9fe-fec5-4a2f-9db1-9906b06c4dc8",
        span_id="d87e8bb6-9fb5-4422-98e4-56413d4a4faf",
        parent_span_id="",
        method="GET",
        path="/process",
        duration=0.0047664,
        status=200,
    )
    assert json.loads(tracelines.json_line(line)) == {
        "time": "2024-10-07T05:24:19.000000Z",
        "service_name": "test-server1",
        "trace_id": "8678e9fe-fec5-4a2f-9db1-9906b06c4dc8",
        "span_id": "d87e8bb6-9fb5-4422-98e4-56413d4a4faf",
        "parent_span_id": "",
        "method": "GET",
        "path": "/process",
        "duration": 0.0047664,
        "status": 200,
    }


LINE = tracelines.TraceLine(0.0, "shop", "a" * 32, "b" * 16, "", "GET", "/", 0.001, 200)


@given(st.text(), st.text())
def test_nothing_in_a_path_or_method_makes_a_second_line(path, method):
    for write in (tracelines.text_line, tracelines.json_line):
        text = write(LINE._replace(path=path, method=method))
        assert text.endswith("\n")
        assert len(text.splitlines()) == 1
        text.encode()
    found = tracelines.parse_line(tracelines.json_line(LINE._replace(path=path, method=method)))
    assert (found.path, found.method) == (path, method)


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])))
def test_nothing_in_a_path_forges_a_fact(path):
    path += ", Duration: 1s, Status: 200, TraceID: x, SpanID: y, ParentSpanID: z, Method: PUT, Path: /b, Duration: 2s, Status: 1"
    assert tracelines.parse_line(tracelines.text_line(LINE._replace(path=path))) == LINE._replace(path=path)


@given(st.floats(0, 1e6), st.integers(0, 4_000_000_000))
def test_durations_and_moments_survive(duration, moment):
    line = LINE._replace(duration=duration, moment=float(moment))
    for write in (tracelines.text_line, tracelines.json_line):
        found = tracelines.parse_line(write(line))
        assert found.moment == line.moment
        assert found.duration == pytest.approx(duration, abs=1e-9)


def test_a_long_path_is_cut():
    for write in (tracelines.text_line, tracelines.json_line):
        assert len(write(LINE._replace(path="/" * 1_000_000))) < 2_500


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{",
        "{}",
        "[]",
        "null",
        '{"time":1}',
        GIN_LINES[0].replace("2024/10", "2024/13"),
        GIN_LINES[0].replace("4.7664ms", "4.7664"),
        GIN_LINES[0].replace("4.7664ms", "4..7ms"),
        GIN_LINES[0].replace("4.7664ms", "9" * 400 + "h1s"),
        GIN_LINES[0].replace("4.7664ms", "9" * 5000 + "h1s"),
        GIN_LINES[0].replace("4.7664ms", "9" * 400 + "s"),
        GIN_LINES[0].replace("200", "teapot"),
        GIN_LINES[0] + " and more",
        GIN_LINES[0] + "\n" + GIN_LINES[0],
        tracelines.json_line(LINE).replace('"GET"', "1"),
        tracelines.json_line(LINE).replace("200", "true"),
        tracelines.json_line(LINE).replace("0.001000000", "1" + "0" * 400),
        tracelines.json_line(LINE).replace("0.001000000", "1e999"),
        tracelines.json_line(LINE).replace("0.001000000", "NaN"),
        tracelines.json_line(LINE).replace("0.001000000", "-1"),
        tracelines.json_line(LINE).replace("200", "9" * 20),
        tracelines.json_line(LINE).replace("1970", "never"),
        '{"time":' + "[" * 50_000,
        "2024/10/07 05:24:19 Service: " + ", TraceID: x" * 20_000,
        "x" * 1_000_000,
    ],
)
def test_what_is_no_line_is_an_error_that_says_so(text):
    with pytest.raises(tracelines.TraceLineError, match=r"trace log|moment|duration"):
        tracelines.parse_line(text)


def test_a_status_that_is_none_in_a_line_of_text():
    assert tracelines.parse_line(GIN_LINES[0].replace("200", "0")).status == 0


def test_an_encoded_line_break_stays_encoded():
    assert tracelines.one_line("/a\nb\r\u2028\x85c/ä %0A") == "/a%0Ab%0D%E2%80%A8%C2%85c/ä %0A"
