"""The search in trace logs: every spelling, every bound, and what others may have written into the files."""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from monitoring.dashboard import tracesearch
from monitoring.dashboard.tracesearch import Found, Limit, Limits, latest, of_trace, trace_id_in
from monitoring.tracelines import json_line, parse_line, plain_id, text_line
from tests.tracelogs import NOW, OTHER, SAMPLES, TRACE, line, write

DASHED = str(UUID(TRACE))
SPELLINGS = [TRACE, DASHED, TRACE.upper(), DASHED.upper(), TRACE[:9].upper() + TRACE[9:]]


def clock_of(*steps: float) -> Callable[[], float]:
    """A clock that shows these, and the last one from then on."""
    shown = itertools.chain(steps, itertools.repeat(steps[-1]))
    return lambda: next(shown)


def names(found: Found) -> list[str]:
    return [os.path.basename(one.path) for one in found.searched]


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_a_trace_id_in_what_somebody_pasted(spelled: str) -> None:
    assert trace_id_in(spelled) == TRACE
    assert trace_id_in(f"  {spelled}\n") == TRACE
    assert trace_id_in(f"X-Trace-ID: {spelled}, and more") == TRACE
    assert trace_id_in(text_line(line(trace_id=spelled))) == TRACE
    assert trace_id_in(json_line(line(trace_id=spelled))) == TRACE


def test_a_traceparent_has_its_trace_id() -> None:
    assert trace_id_in(f"00-{TRACE}-00f067aa0ba902b7-01") == TRACE


@pytest.mark.parametrize("text", ["", "hello", TRACE[:-1], TRACE + "a", "0" * 32, DASHED[:-1], "x" * 5000 + TRACE, "g" * 32])
def test_what_holds_no_trace_id(text: str) -> None:
    assert trace_id_in(text) is None


@pytest.mark.parametrize("written", [text_line, json_line])
def test_every_spelling_is_found_in_both_forms(tmp_path: Path, written: Callable[..., str]) -> None:
    lines = [line(number + 1, trace_id=spelled) for number, spelled in enumerate(SPELLINGS)]
    others = [line(trace_id=OTHER), line(trace_id="0" * 20 + TRACE[-12:]), line(trace_id=OTHER, path=f"/{TRACE}")]
    (tmp_path / "trace.log").write_text("".join(map(written, [*lines, *others])))
    found = of_trace([f"{tmp_path}/*.log"], TRACE)
    assert set(found.lines) == set(lines)
    assert found.limit is None
    assert found.back_to is None
    assert found.searched[0].back_to == NOW


def test_a_line_that_names_its_trace_twice_is_found_once(tmp_path: Path) -> None:
    log = write(tmp_path / "shop.log", line(path=f"/{TRACE}/{TRACE}"))
    assert len(of_trace([log], TRACE).lines) == 1


def test_every_line_of_the_gin_services_is_found_by_its_trace_id() -> None:
    texts = [text for path in SAMPLES.glob("*.log") for text in path.read_text().splitlines()]
    assert len(texts) == 80
    for text in texts:
        wanted = parse_line(text)
        found = of_trace([f"{SAMPLES}/*.log"], plain_id(wanted.trace_id))
        assert wanted in found.lines
        assert {one.service_name for one in found.lines} == {"test-server1", "test-server2", "test-server3", "test-server4"}
        assert len(found.lines) == 4


def test_rotated_files_count_where_the_pattern_matches_them(tmp_path: Path) -> None:
    write(tmp_path / "shop.log", line(1))
    write(tmp_path / "shop.log.1", line(2))
    (tmp_path / "shop.log.2.gz").write_bytes(gzip.compress(text_line(line(3)).encode()))
    assert len(of_trace([f"{tmp_path}/*.log"], TRACE).lines) == 1
    assert len(of_trace([f"{tmp_path}/*.log*"], TRACE).lines) == 3


def test_a_line_across_the_boundary_of_two_blocks(tmp_path: Path) -> None:
    log = write(tmp_path / "shop.log", *(line(number + 1, path="/" * (number % 60)) for number in range(300)))
    for size in range(400, 460):
        assert len(of_trace([log], TRACE, Limits(block=size)).lines) == 300


def test_a_line_that_is_being_written_is_none_yet(tmp_path: Path) -> None:
    whole = text_line(line(2))
    for cut in range(1, len(whole)):
        (tmp_path / "shop.log").write_text(text_line(line(1, moment=NOW - 1)) + whole[:-cut])
        found = of_trace([f"{tmp_path}/shop.log"], TRACE).lines
        assert [one.span_id[-1] for one in found] == (["2", "1"] if cut == 1 else ["1"])  # without its line break it is whole


def test_what_others_write_into_a_log(tmp_path: Path) -> None:
    garbage = [
        os.urandom(10_000),
        b"x" * 3_000_000 + TRACE.encode() + b"y" * 3_000_000,
        (TRACE + " ").encode() * 20_000,
        text_line(line(path="/")).replace("Path: /", "Path: /" + "a" * 1_000_000).strip().encode(),
        b'{"trace_id": "' + TRACE.encode() + b'", ' + b"[" * 10_000,
        text_line(line()).replace("2024", "0000").strip().encode(),
        text_line(line()).replace("2024", "9999").strip().encode(),
        text_line(line()).replace("4ms", "9" * 400 + "h1s").strip().encode(),
        json_line(line()).replace("0.004000000", "NaN").strip().encode(),
    ]
    lines = [text_line(line(number + 1)).encode() for number in range(len(garbage))]
    (tmp_path / "shop.log").write_bytes(b"".join(one + bad + b"\n" for one, bad in zip(lines, garbage, strict=True)))
    found = of_trace([f"{tmp_path}/shop.log"], TRACE)
    assert len(found.lines) == len(lines)
    assert found.limit is None


def test_texts_of_lines_are_bounded_and_can_be_shown(tmp_path: Path) -> None:
    odd = line(service="s" * 5000, path="/\ud800\n\0" + "x" * 1500, method="M" * 100)
    (tmp_path / "shop.log").write_text(json_line(odd) + text_line(line(2, path="/ü")), encoding="utf-8")
    with (tmp_path / "shop.log").open("ab") as file:
        file.write(text_line(line(3, path="/?")).encode().replace(b"/?", b"/\xff"))
    last, second, first = sorted(of_trace([f"{tmp_path}/shop.log"], TRACE).lines, reverse=True, key=lambda one: one.span_id)
    assert first.path.startswith("/%ED%A0%80%0A%00xxx")
    assert (len(first.service_name), len(first.method)) == (200, 32)
    assert (second.path, last.path) == ("/ü", "/\ufffd")
    repr([first, second, last]).encode()


def test_a_bound_of_lines_keeps_the_newest(tmp_path: Path) -> None:
    log = write(tmp_path / "shop.log", *(line(number + 1, moment=NOW + number) for number in range(10_000)))
    found = of_trace([log], TRACE, Limits(lines=1000))
    assert found.limit is Limit.LINES
    assert [one.moment for one in found.lines] == [NOW + number for number in range(9999, 8999, -1)]
    assert of_trace([log], TRACE, Limits(lines=10_000)).limit is None


def two_logs(folder: Path) -> list[str]:
    """A large and a small one that cover the same 1,000 seconds; the trace's lines are in the middle."""
    for name, share in (("busy", 20), ("idle", 1)):
        lines = [
            line(index + 1, service=name, trace_id=TRACE if second == 500 else OTHER, moment=NOW + second)
            for second in range(1000)
            for index in range(share)
        ]
        log = write(folder / f"{name}.log", *lines)
        os.utime(log, (NOW + 1000, NOW + 1000))
    return [f"{folder}/*.log"]


def test_a_bound_of_bytes_leaves_out_the_oldest_of_all_files_and_says_from_when(tmp_path: Path) -> None:
    patterns = two_logs(tmp_path)
    whole = sum(file.stat().st_size for file in tmp_path.iterdir())
    found = of_trace(patterns, TRACE, Limits(read=whole * 6 // 10, block=4096))
    assert found.limit is Limit.READ
    assert {one.service_name for one in found.lines} == {"busy", "idle"}  # one after the other, the budget would end in the first
    assert found.back_to is not None
    assert NOW < found.back_to < NOW + 500
    assert all(one.back_to is not None and one.back_to <= found.back_to for one in found.searched)
    missed = of_trace(patterns, TRACE, Limits(read=whole * 4 // 10, block=4096))
    assert missed.lines == ()
    assert missed.back_to is not None
    assert missed.back_to > NOW + 500


def test_a_bound_of_bytes_that_is_just_enough_is_no_bound(tmp_path: Path) -> None:
    log = write(tmp_path / "shop.log", line())
    assert of_trace([log], TRACE, Limits(read=os.path.getsize(log))).limit is None


def test_a_bound_of_time(tmp_path: Path) -> None:
    patterns = two_logs(tmp_path)
    found = of_trace(patterns, TRACE, Limits(block=4096), clock=clock_of(*[0.0] * 20, 2.0))
    assert found.limit is Limit.SECONDS
    assert found.lines == ()
    assert found.back_to is not None
    assert NOW + 500 < found.back_to < NOW + 1000
    assert of_trace(patterns, TRACE, clock=clock_of(5.0, 7.0)).back_to == NOW + 1000  # nothing was searched


def test_time_runs_out_within_a_block_of_nothing_but_candidates(tmp_path: Path) -> None:
    (tmp_path / "shop.log").write_text(f"{TRACE}\n" * 10_000)
    found = of_trace([f"{tmp_path}/shop.log"], TRACE, clock=clock_of(*[0.0] * 50, 2.0))
    assert found.limit is Limit.SECONDS
    assert found.back_to is not None


def test_a_gzip_file_counts_unpacked(tmp_path: Path) -> None:
    (tmp_path / "bomb.log.gz").write_bytes(gzip.compress(text_line(line(trace_id=OTHER)).encode() * 50_000))
    found = of_trace([f"{tmp_path}/*.gz"], TRACE, Limits(read=1_000_000, block=100_000))
    assert found.limit is Limit.READ
    assert found.read < 1_300_000
    assert found.back_to == found.searched[0].file.modified  # it is read from its beginning: of its end nothing is known


def test_a_file_that_cannot_be_read_is_said_and_costs_no_other(tmp_path: Path) -> None:
    write(tmp_path / "good.log", line())
    damaged = bytearray(gzip.compress(os.urandom(5000)))
    damaged[2000:2100] = bytes(100)
    (tmp_path / "bad.log").write_bytes(damaged)
    found = of_trace([f"{tmp_path}/*.log", f"{tmp_path}/no/*.log"], TRACE)
    assert len(found.lines) == 1
    assert {os.path.basename(trouble.path) for trouble in found.troubles} == {"bad.log", "*.log"}
    assert names(found) == ["good.log"]


def test_without_a_pattern_nothing_is_searched() -> None:
    assert of_trace([], TRACE) == Found((), (), (), None, None, 0)


def test_the_latest_of_all_files_the_newest_first(tmp_path: Path) -> None:
    patterns = two_logs(tmp_path)
    found = latest(patterns, 50)
    assert len(found.lines) == 50
    moments = [one.moment for one in found.lines]
    assert moments == sorted(moments, reverse=True)
    assert moments[0] == NOW + 999
    assert [one.service_name for one in found.lines].count("idle") == 3
    assert [one.service_name for one in found.lines[:21]].count("idle") == 1
    assert {one.service_name for one in found.lines[:2]} == {"busy", "idle"}  # of one second, no file's lines hide the others'
    assert found.read < 300_000  # the ends of the files
    assert found.limit is None


def test_the_latest_that_are_wanted(tmp_path: Path) -> None:
    lines = [line(number + 1, moment=NOW + number, status=500 if number % 1000 == 0 else 200) for number in range(10_000)]
    log = write(tmp_path / "shop.log", *lines)
    found = latest([log], 5, only_failed=True, limits=Limits(block=4096))
    assert [one.moment - NOW for one in found.lines] == [9000, 8000, 7000, 6000, 5000]
    assert len(latest([log], 50, "shop", only_failed=True).lines) == 10
    assert latest([log], 50, "nobody").lines == ()


@pytest.mark.parametrize("written", [text_line, json_line])
def test_every_failure_is_among_the_failed(tmp_path: Path, written: Callable[..., str]) -> None:
    lines = [line(number, status=number, path='/Status: 200"status":200}') for number in (0, 99, 200, 404, 499, 500, 599, 1500)]
    (tmp_path / "shop.log").write_text("".join(map(written, lines)))
    assert [one.status for one in latest([f"{tmp_path}/shop.log"], 50, only_failed=True).lines] == [1500, 599, 500]


def test_the_latest_within_bounds(tmp_path: Path) -> None:
    log = write(tmp_path / "shop.log", *(line(number + 1, moment=NOW + number) for number in range(5_000)))
    found = latest([log], 50, "nobody", limits=Limits(read=100_000, block=4096))
    assert found.limit is Limit.READ
    assert found.back_to is not None
    found = latest([log], 50, clock=clock_of(*[0.0] * 12, 2.0))
    assert found.limit is Limit.SECONDS
    assert 0 < len(found.lines) < 50


def test_many_files_are_not_all_open_for_their_last_lines(tmp_path: Path) -> None:
    for number in range(60):
        log = write(tmp_path / f"{number:02}.log", line(moment=NOW + number))
        os.utime(log, (NOW + number, NOW + number))
    found = latest([f"{tmp_path}/*.log"], 5)
    assert [one.moment - NOW for one in found.lines] == [59, 58, 57, 56, 55]
    assert sum(one.read > 0 for one in found.searched) <= 7


def test_the_bounds_are_those_that_the_page_tells() -> None:
    assert (Limits().read, Limits().lines, Limits().seconds) == (256 * 1024 * 1024, 1_000, 2.0)
    assert tracesearch.Limits().block < Limits().read
