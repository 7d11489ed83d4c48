"""One process's table of counters."""

import mmap
import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring import histogram
from monitoring.instrument import merging, store
from monitoring.wire import OVERFLOW_ROUTE, bounded_route


def new_table(max_series=10):
    return store.CounterTable(mmap.mmap(-1, store.size_in_bytes(max_series)), max_series)


def read(table):
    return {endpoint.key: endpoint for endpoint, _seen in merging.TableReader(table.content()).endpoints()}


def test_what_is_recorded_is_read_back():
    table = new_table()
    row = table.add_row("items/", "GET", "/items/")
    for status, duration in [(200, 0.25), (200, 0.5), (404, 0.125)]:
        table.begin()
        table.record(row, status, 10.0, 10.0 + duration)
    (endpoint,) = read(table).values()
    assert (endpoint.method, endpoint.route, endpoint.count) == ("GET", "/items/", 3)
    assert endpoint.status_codes == {200: 2, 404: 1}
    assert endpoint.duration_sum == pytest.approx(0.875)
    assert endpoint.duration_max == pytest.approx(0.5)
    assert endpoint.buckets == {histogram.bucket_index(value): 1 for value in (0.25, 0.5, 0.125)}


def test_active_requests():
    table = new_table()
    row = table.add_row("", "GET", "/")
    for _ in range(3):
        table.begin()
    table.record(row, 200, 0.0, 1.0)
    table.abandon()
    assert merging.TableReader(table.content()).active_requests == 1


def test_what_comes_after_the_last_row_shares_one_and_is_counted():
    table = new_table(max_series=2)
    for number in range(5):
        row = table.add_row(f"{number}/", "GET", f"/{number}/")
        table.record(row, 200, 0.0, 1.0)
    found = read(table)
    assert sorted(found) == ["GET/0/", "GET/1/", "_OTHER" + OVERFLOW_ROUTE]
    assert found["_OTHER" + OVERFLOW_ROUTE].count == 3
    assert merging.TableReader(table.content()).dropped_series == 3


def test_invented_methods_share_one_row_and_leave_nothing_behind():
    table = new_table()
    rows = {id(table.add_row("x/", f"M{number}", "/x/")) for number in range(100)}
    assert len(rows) == 1
    assert table.rows["x/"] == {}


def test_two_routes_of_the_same_name_share_a_row():
    table = new_table()
    assert table.add_row("^a/$", "GET", "/a/") is table.add_row("a/", "GET", "/a/")


@pytest.mark.parametrize("status", [0, -1, 99, 1000, 10**30, "200", None, 2.5])
def test_what_is_no_status_code_is_counted_as_other(status):
    table = new_table()
    table.record(table.add_row("", "GET", "/"), status, 0.0, 1.0)
    assert read(table)["GET/"].status_codes == {store.OTHER_STATUS: 1}


def test_more_status_codes_than_have_room_are_counted_as_other():
    table = new_table()
    row = table.add_row("", "GET", "/")
    for status in [*range(200, 250), 249, 200]:
        table.record(row, status, 0.0, 1.0)
    codes = read(table)["GET/"].status_codes
    assert len(codes) == store.STATUS_CODES
    assert sum(codes.values()) == 52
    assert codes[200] == 2


@given(st.text(max_size=500))
def test_any_route_is_kept(route):
    table = new_table()
    table.record(table.add_row(route, "DELETE", route), 200, 0.0, 1.0)
    (endpoint,) = read(table).values()
    assert endpoint.route == (bounded_route(route) or "/unknown")


def test_streams_have_fields_of_their_own():
    table = new_table()
    row = table.add_row("", "GET", "/")
    table.record(row, 200, 0.0, 0.5)
    table.record(row, 200, 0.0, 0.5)
    table.record_stream(row, 3.0)
    table.record_stream(row, 2.0)
    endpoint = read(table)["GET/"]
    assert (endpoint.count, endpoint.duration_sum) == (2, 1.0)
    assert (endpoint.stream_count, endpoint.stream_duration_sum, endpoint.stream_duration_max) == (2, 5.0, 3.0)


def test_in_a_full_table_an_endpoint_that_was_idle_for_long_makes_room():
    table = new_table(max_series=2)
    rows = {name: table.add_row(name, "GET", f"/{name}") for name in ("old", "new")}
    now = time.perf_counter()
    table.record(rows["old"], 500, now - store.IDLE_SECONDS - 10, now - store.IDLE_SECONDS - 5)
    table.record(rows["new"], 200, now - 1, now)
    third = table.add_row("third", "GET", "/third")
    table.record(third, 201, now - 1, now)
    found = read(table)
    assert {key: one.status_codes for key, one in found.items()} == {"GET/new": {200: 1}, "GET/third": {201: 1}}
    assert found["GET/third"].duration_sum == pytest.approx(1.0)
    assert "GET" not in table.rows["old"]
    table.add_row("fourth", "GET", "/fourth")
    assert merging.TableReader(table.content()).dropped_series == 1


def test_the_stamp_of_the_last_request_is_a_second_old_at_most():
    table = new_table()
    row = table.add_row("", "GET", "/")
    first, stamps = time.perf_counter(), []
    for after in (0.0, 0.5, 0.9, 1.0, 1.5, 2.0, 9000.0):
        table.begin()
        table.record(row, 200, first, first + after)
        stamps.append(round(row.floats[store.LAST_SEEN] - table._epoch_offset - first, 3))
    assert stamps == [0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 9000.0]


def test_threads_lose_no_increment():
    table = new_table()
    row = table.add_row("", "GET", "/")

    def work():
        for _ in range(100_000):
            table.begin()
            table.record(row, 200, 0.0, 0.5)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (endpoint,) = read(table).values()
    assert endpoint.count == 800_000
    assert endpoint.duration_sum == 400_000
    assert endpoint.buckets == {histogram.bucket_index(0.5): 800_000}
    assert merging.TableReader(table.content()).active_requests == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\0" * 1000, b"\xff" * 4096, new_table().content()[:64], b"GIF89a" + b"\0" * 994],
)
def test_what_is_no_table_is_refused(content):
    with pytest.raises(merging.TableError):
        merging.TableReader(content)


def test_a_table_that_is_cut_off_or_of_another_version_is_refused():
    table = new_table()
    table.add_row("", "GET", "/")
    content = table.content()
    with pytest.raises(merging.TableError):
        merging.TableReader(content[: -8 * store.ROW_WORDS])
    other = bytearray(content)
    other[8] += 1
    with pytest.raises(merging.TableError, match="another version"):
        merging.TableReader(bytes(other))


def test_an_endpoint_that_comes_while_the_file_is_read_is_left_for_the_next_time(tmp_path, monkeypatch):
    path, size = tmp_path / "table", store.size_in_bytes(10)
    path.write_bytes(bytes(size))
    with path.open("r+b") as file:
        table = store.CounterTable(mmap.mmap(file.fileno(), size), 10)
        table.record(table.add_row("a", "GET", "/a"), 200, 0.0, 1.0)
        pread = os.pread

        def pread_while_the_worker_goes_on(*args):
            content = pread(*args)
            table.record(table.add_row("b", "GET", "/b"), 200, 0.0, 1.0)
            return content

        monkeypatch.setattr(os, "pread", pread_while_the_worker_goes_on)
        reader = merging.TableReader(merging.read_used_part(file.fileno()))
    assert [endpoint.key for endpoint, _seen in reader.endpoints()] == ["GET/a"]


def test_a_thousand_endpoints_take_less_than_two_megabytes():
    assert store.size_in_bytes(1000) < 2_000_000
