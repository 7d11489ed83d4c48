"""What is served: the two formats, and who gets which."""

import json

import pytest
from django.test import Client, override_settings
from hypothesis import given
from hypothesis import strategies as st

from monitoring import exposition, histogram, wire

ENDPOINT = wire.EndpointMetrics(
    "GET", "/items/<int:pk>/", 4, 3.5, 2.5, {200: 3, 500: 1}, {histogram.bucket_index(v): 1 for v in (0.001, 0.25, 0.75, 2.5)}
)


def prometheus(*endpoints, **fields):
    return exposition.to_prometheus(wire.MetricsDocument("shop", {one.key: one for one in endpoints}, **fields)).decode()


def test_a_histogram_in_prometheus_text():
    text = prometheus(ENDPOINT)
    labels = 'http_request_method="GET",http_route="/items/<int:pk>/"'
    counts = {
        line.split('le="')[1].split('"')[0]: int(line.rsplit(" ", 1)[1]) for line in text.splitlines() if "_bucket{" in line
    }
    assert next(iter(counts)) == repr(2.0**-10)
    assert list(counts)[-2:] == ["16.0", "+Inf"]
    assert (counts["0.0009765625"], counts["0.001953125"], counts["0.25"], counts["0.5"], counts["1.0"]) == (0, 1, 2, 2, 3)
    assert (counts["2.0"], counts["4.0"], counts["+Inf"]) == (3, 4, 4)
    assert f"http_server_request_duration_seconds_sum{{{labels}}} 3.5\n" in text
    assert f"http_server_request_duration_seconds_count{{{labels}}} 4\n" in text
    assert f'http_server_requests_total{{{labels},http_response_status_code="200"}} 3\n' in text
    assert f'http_server_requests_total{{{labels},http_response_status_code="500"}} 1\n' in text


@given(st.lists(st.floats(1e-6, 100), min_size=1))
def test_each_bound_counts_what_took_up_to_it(values):
    endpoint = wire.EndpointMetrics("GET", "/", len(values), sum(values), None, {200: len(values)})
    endpoint.buckets = histogram.merge({histogram.bucket_index(value): 1} for value in values)
    for line in prometheus(endpoint).splitlines():
        if "_bucket{" in line and "+Inf" not in line:
            bound = float(line.split('le="')[1].split('"')[0])
            assert int(line.rsplit(" ", 1)[1]) == sum(value <= bound for value in values)


@given(st.text(max_size=50))
def test_no_route_breaks_a_line_or_a_label(route):
    text = prometheus(wire.EndpointMetrics("GET", wire.bounded_route("/" + route), 1, 0.5, None, {200: 1}, {0: 1}))
    for line in text.splitlines():
        assert line.startswith(("#", "http_server_"))
    value = text.split('http_route="')[1].split('",le=')[0]
    unescaped = value.replace("\\\\", "\0").replace('\\"', '"').replace("\\n", "\n").replace("\0", "\\")
    assert unescaped == wire.bounded_route("/" + route)


def test_nothing_counted_yet():
    assert "_bucket" not in prometheus()
    assert "monitoring_workers 2\n" in prometheus(workers=2, started_at=1.5)


PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("query", "accept", "content_type"),
    [
        ("", None, "application/json"),
        ("", "*/*", "application/json"),
        ("", "application/json", "application/json"),
        ("", BROWSER, "application/json"),
        ("", "image/png", "application/json"),
        ("", "nonsense;;;q=x", "application/json"),
        ("", PROMETHEUS_2, exposition.PROMETHEUS_CONTENT_TYPE),
        ("", PROMETHEUS_3, exposition.PROMETHEUS_CONTENT_TYPE),
        ("", "text/plain", exposition.PROMETHEUS_CONTENT_TYPE),
        ("?format=json", PROMETHEUS_2, "application/json"),
        ("?format=prometheus", "application/json", exposition.PROMETHEUS_CONTENT_TYPE),
    ],
)
@override_settings(ROOT_URLCONF="tests.watched", MONITORING={"METRICS_PUBLIC": True})
def test_who_gets_which_format(query, accept, content_type):
    response = Client().get(f"/metrics{query}", headers={} if accept is None else {"Accept": accept})
    assert response.status_code == 200
    assert response["Content-Type"] == content_type
    assert "Accept" in response["Vary"]
    if content_type == "application/json":
        json.loads(response.content)
    else:
        assert response.content.startswith(b"# HELP")


@override_settings(ROOT_URLCONF="tests.watched", MONITORING={"METRICS_PUBLIC": True})
def test_an_unknown_format_is_said():
    response = Client().get("/metrics?format=xml")
    assert response.status_code == 400
    assert b"json or prometheus" in response.content
