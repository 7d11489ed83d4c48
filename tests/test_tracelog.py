"""The trace log line, and the file it is appended to."""

import multiprocessing
import os
import re
from calendar import timegm
from pathlib import Path
from time import strptime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.instrument import tracelog, tracing

GIN_LINES = [line for path in sorted((Path(__file__).parent / "samples").glob("*.log")) for line in path.read_text().splitlines()]
FIELDS = re.compile(
    r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) Service: (.*), TraceID: (\S*), SpanID: (\S*), ParentSpanID: (\S*),"
    r" Method: (.*), Path: (.*), Duration: (\S+), Status: (\d+)"
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (9e-9, "9ns"),
        (26e-6, "26µs"),
        (639.8e-6, "639.8µs"),
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
    assert tracelog.format_duration(seconds) == text


def test_the_line_is_the_gin_services_byte_for_byte():
    assert len(GIN_LINES) == 80
    units = {"ms": 1e-3, "µs": 1e-6, "s": 1.0}
    for line in GIN_LINES:
        stamp, service, trace, span_id, parent, method, path, duration, status = FIELDS.fullmatch(line).groups()
        number, unit = re.fullmatch(r"([\d.]+)(\D+)", duration).groups()
        span = tracing.Span("0" * 32, span_id, trace_id_as_received=trace, parent_as_logged=parent)
        moment = timegm(strptime(stamp, "%Y/%m/%d %H:%M:%S"))
        ours = tracelog.text_line(service, span, method, path, float(number) * units[unit], int(status), moment)
        assert ours == line + "\n"


@given(st.text(), st.text())
def test_nothing_in_a_path_or_method_makes_a_second_line(path, method):
    span = tracing.Span("a" * 32, "b" * 16)
    line = tracelog.text_line("shop", span, method, path, 0.001, 200, 0.0)
    assert line.endswith("Status: 200\n")
    assert len(line.splitlines()) == 1
    line.encode()


def test_an_encoded_line_break_stays_encoded():
    assert tracelog.one_line("/a\nb\r\u2028\x85c/ä %0A") == "/a%0Ab%0D%E2%80%A8%C2%85c/ä %0A"


def append(path, number):
    log = tracelog.TraceLog(path)
    for _ in range(500):
        log.write(f"{number}" * 300 + "\n")


def test_lines_of_many_processes_never_mix(tmp_path):
    path = str(tmp_path / "trace.log")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append, args=(path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = Path(path).read_text().splitlines()
    assert len(lines) == 2000
    assert set(lines) == {f"{number}" * 300 for number in range(4)}


@pytest.mark.parametrize("path", ["/nowhere/at/all/trace.log", "/dev/full"])
def test_a_log_that_cannot_be_written_is_said_once(path, caplog):
    log = tracelog.TraceLog(path)
    log.write("one\n")
    log.write("two\n")
    assert caplog.text.count("cannot be written") == 1


def test_standard_output(capfd):
    tracelog.TraceLog("-").write("a line\n")
    assert capfd.readouterr().out == "a line\n"


def test_the_file_is_not_inherited_by_programs_the_service_starts(tmp_path):
    log = tracelog.TraceLog(str(tmp_path / "trace.log"))
    log.write("x\n")
    assert os.get_inheritable(log._descriptor) is False
