"""The metrics document: the Gin service's, ours, and what is neither."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring import wire

SAMPLES = Path(__file__).parent / "samples"


def document(**endpoint):
    fields = {"count": 2, "avg_duration": 0.5, "status_codes": {"200": 2}} | endpoint
    return json.dumps({"service_name": "shop", "metrics": {"GET/items/": fields}, "histogram_scale": 2})


def test_the_gin_services_document_is_read_with_its_unit():
    parsed = wire.parse((SAMPLES / "gin-metrics-enveloped.json").read_bytes(), seconds_per_unit=0.001)
    assert parsed.service_name == "test-server1"
    process = parsed.endpoints["GET/process"]
    assert (process.method, process.route, process.count, process.status_codes) == ("GET", "/process", 40, {200: 40})
    assert process.duration_sum == pytest.approx(0.105)
    assert process.buckets is None
    assert process.duration_max is None


def test_the_gin_services_older_document_is_read_without_envelope():
    parsed = wire.parse((SAMPLES / "gin-metrics-bare.json").read_bytes())
    assert parsed.service_name is None
    assert parsed.endpoints["GET/unknown"].status_codes == {404: 2}
    assert parsed.endpoints["GET/ping"].duration_sum == pytest.approx(3 * 0.00016386133333333333)


def test_a_gin_service_that_has_counted_nothing_yet():
    assert wire.parse(b'{"metrics": null, "service_name": "x"}').endpoints == {}
    assert wire.parse(b"{}").endpoints == {}


endpoints = st.builds(
    wire.EndpointMetrics,
    method=st.sampled_from(sorted(wire.STANDARD_METHODS)),
    route=st.text(max_size=30).map(lambda text: wire.bounded_route("/" + text)),
    count=st.integers(0, 2**48),
    duration_sum=st.floats(0, 1e9),
    duration_max=st.none() | st.floats(0, 1e6),
    status_codes=st.dictionaries(st.integers(100, 599), st.integers(0, 2**48), max_size=5),
    buckets=st.none() | st.dictionaries(st.integers(-80, 39), st.integers(0, 2**48), max_size=10),
)


@given(st.lists(endpoints, max_size=5), st.none() | st.floats(0, 2e9), st.none() | st.integers(0, 99))
def test_what_is_dumped_is_parsed_as_it_was(found, started_at, count):
    original = wire.MetricsDocument("shop", {one.key: one for one in found}, started_at, count, count, count)
    assert wire.parse(json.dumps(wire.dump(original))) == original


def test_the_first_keys_are_the_gin_services():
    dumped = wire.dump(wire.MetricsDocument("shop", {"GET/": wire.EndpointMetrics("GET", "/", 4, 2.0, None, {200: 4})}))
    assert list(dumped)[:2] == ["service_name", "metrics"]
    assert list(dumped["metrics"]["GET/"])[:3] == ["count", "avg_duration", "status_codes"]
    assert dumped["metrics"]["GET/"]["avg_duration"] == 0.5


@pytest.mark.parametrize(
    ("payload", "part_of_message"),
    [
        (b"<html>", "not a JSON document"),
        (b'{"metrics": {"GET/x": {"count": 1', "not a JSON document"),
        (b"\xff\xfe\x00", "not a JSON document"),
        (b"[" * 100_000, "not a JSON document"),
        (b"[]", "a list"),
        (b'{"metrics": 3}', '"metrics" is a number'),
        (b'{"service_name": 3, "metrics": {}}', '"service_name"'),
        (b'{"metrics": {"GET/x": 3}}', "GET/x"),
        (b'{"metrics": {"nonsense": {"count": 1, "avg_duration": 1, "status_codes": {}}}}', "not a method and a route"),
        (b'{"metrics": {}, "started_at": "yesterday"}', "started_at"),
        (b'{"metrics": {}, "workers": -1}', "workers"),
        (document(count=None).encode(), '"count" is null'),
        (document(count=-1).encode(), "negative"),
        (document(count=1.5).encode(), "whole number"),
        (document(count=True).encode(), "a boolean"),
        (document(count=2**49).encode(), "larger"),
        (document(avg_duration=-0.1).encode(), "negative"),
        (document(avg_duration="fast").encode(), "a string"),
        (document(avg_duration=float("nan")).encode(), "NaN"),
        (document(avg_duration=1).replace("1,", "1e999,").encode(), "finite"),
        (document(avg_duration=10**400).encode(), "finite"),
        (document(avg_duration=1e300, count=2**40).encode(), "larger"),
        (document(avg_duration=1e14, count=2**40).encode(), "larger"),
        (document(status_codes=[]).encode(), "status_codes"),
        (document(status_codes={"2xx": 1}).encode(), "2xx"),
        (document(status_codes={"200": -1}).encode(), "negative"),
        (document(buckets={"a": 1}).encode(), "bucket index"),
        (document(buckets={"1": "x"}).encode(), "whole number"),
        (document(duration_max=float("inf")).encode(), "Infinity"),
    ],
)
def test_what_is_no_metrics_document_is_refused_with_a_reason(payload, part_of_message):
    with pytest.raises(wire.DocumentError) as caught:
        wire.parse(payload)
    assert part_of_message in str(caught.value)


def test_a_missing_field_is_named():
    with pytest.raises(wire.DocumentError, match=r'has no "avg_duration"'):
        wire.parse(b'{"GET/x": {"count": 1}}')


def test_invented_methods_share_one_endpoint():
    fields = {"count": 1, "avg_duration": 2.0, "status_codes": {"405": 1}}
    parsed = wire.parse(json.dumps({"FOO/x": fields, "BAR/x": fields}))
    assert list(parsed.endpoints) == ["_OTHER/x"]
    assert parsed.endpoints["_OTHER/x"].count == 2
    assert parsed.endpoints["_OTHER/x"].status_codes == {405: 2}


def test_a_finer_histogram_is_made_coarser_and_a_coarser_one_left_out():
    fine = json.loads(document(buckets={"-70": 1, "-69": 2, "-68": 3}))
    fine["histogram_scale"] = 3
    assert wire.parse(json.dumps(fine)).endpoints["GET/items/"].buckets == {-35: 3, -34: 3}
    fine["histogram_scale"] = 1
    assert wire.parse(json.dumps(fine)).endpoints["GET/items/"].buckets is None


@given(st.text(max_size=2000))
def test_any_route_becomes_one_line_that_a_database_can_hold(text):
    bounded = wire.bounded_route(text)
    assert len(bounded.encode()) <= wire.MAX_ROUTE_LENGTH
    assert len(bounded.splitlines()) <= 1
    assert wire.bounded_route(bounded) == bounded


def test_long_routes_stay_distinct():
    assert wire.bounded_route("/" + "a" * 10_000) != wire.bounded_route("/" + "a" * 10_001)


def many(count):
    one = {"count": 1, "avg_duration": 0.5, "status_codes": {"200": 1}}
    return json.dumps({"service_name": "shop", "metrics": {f"GET/{number}": one for number in range(count)}, "started_at": 5})


def test_more_endpoints_than_are_read_are_cut_and_that_survives_a_dump():
    whole, cut = wire.parse(many(wire.MAX_ENDPOINTS)), wire.parse(many(wire.MAX_ENDPOINTS + 1))
    assert (len(whole.endpoints), whole.truncated, cut.truncated) == (wire.MAX_ENDPOINTS, False, True)
    assert (len(cut.endpoints), cut.started_at) == (wire.MAX_ENDPOINTS, 5)
    assert wire.parse(json.dumps(wire.dump(cut))).truncated
    assert "truncated" not in wire.dump(whole)


@pytest.mark.parametrize("keep", [110, 180, 250])
def test_the_beginning_of_a_document_is_read_as_far_as_its_endpoints_are_whole(keep):
    beginning = many(4)[:keep]
    enveloped = wire.parse_beginning(beginning.encode())
    assert (enveloped.service_name, enveloped.truncated) == ("shop", True)
    assert list(enveloped.endpoints) == [f"GET/{number}" for number in range(beginning.count("}}"))]
    bare = wire.parse_beginning(beginning.partition('"metrics": ')[2].encode())
    assert (bare.service_name, bare.endpoints) == (None, enveloped.endpoints)


@pytest.mark.parametrize(
    "payload", [b"", b"[1, 2", b"<html>", b'{"metrics": [', b'{"metrics": {"GET/": 3, ', b'{"a b": {}, ', b"{" * 9000]
)
def test_what_does_not_begin_like_a_document(payload):
    with pytest.raises(wire.DocumentError):
        wire.parse_beginning(payload)


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ({"-4": 2, "6": 1}, {-4: 2, 6: 1}),
        ({"-04": 2, "-4": 1}, {-4: 3}),
        ({"-500": 1, "-80": 2, "500": 4}, {-80: 3, 39: 4}),
        ({}, {}),
    ],
)
def test_buckets_however_they_are_written(buckets, expected):
    assert wire.parse(document(buckets=buckets)).endpoints["GET/items/"].buckets == expected
