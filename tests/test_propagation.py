"""Trace context in and out: W3C's headers, and the Gin service's."""

import re

import pytest

from monitoring.instrument import propagation, spans

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
UUID_TRACE = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
UUID_SPAN = "d87e8bb6-9fb5-4422-98e4-56413d4a4faf"


def start(trust=True, rate=1.0, **headers):
    meta = {"HTTP_" + name.upper(): value for name, value in headers.items()}
    return propagation.start_request_span(meta, spans.Options(trust_incoming=trust, sample_rate=rate))


def is_new(span):
    return span.parent_span_id == "" and span.trace_id != TRACE and re.fullmatch("[0-9a-f]{32}", span.trace_id) is not None


def test_a_traceparent_is_continued():
    span = start(traceparent=f"00-{TRACE}-{PARENT}-01")
    assert (span.trace_id, span.parent_span_id, span.sampled) == (TRACE, PARENT, True)
    assert re.fullmatch("[0-9a-f]{16}", span.span_id)
    assert span.span_id != PARENT
    assert not start(traceparent=f"00-{TRACE}-{PARENT}-00").sampled
    assert start(traceparent=f"00-{TRACE}-{PARENT}-03").sampled


def test_without_headers_a_trace_starts():
    assert is_new(start())
    assert start().trace_id != start().trace_id


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-01-",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-0g",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT.upper()}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01.what",
        f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
        f"00_{TRACE}_{PARENT}_01",
        f"00-{TRACE[:-1]}é-{PARENT}-01",
        "x" * 100_000,
    ],
)
def test_a_malformed_traceparent_counts_as_absent(header):
    assert is_new(start(traceparent=header))


@pytest.mark.parametrize("header", [f"cc-{TRACE}-{PARENT}-01", f"01-{TRACE}-{PARENT}-01-what-the-future-holds"])
def test_a_future_version_is_read_as_far_as_it_is_known(header):
    assert start(traceparent=header).trace_id == TRACE


@pytest.mark.parametrize(
    ("header", "carried"),
    [
        ("congo=t61rcWkgMzE", "congo=t61rcWkgMzE"),
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (" a=1 ,\t, b=2 ", "a=1,b=2"),
        ("tenant@system=1", "tenant@system=1"),
        ("a=1,b=2,a=2", "a=1,b=2"),
        ("1a=1", "1a=1"),
        ("1a@b@c=1", "1a@b@c=1"),
        ("a= leading kept", "a= leading kept"),
        ("@a=1", ""),
        ("a" * 256 + "=1", "a" * 256 + "=1"),
        ("a" * 257 + "=1", ""),
        ("a=" + "x" * 256, "a=" + "x" * 256),
        ("a=" + "x" * 257, ""),
        (",".join(f"k{number}=1" for number in range(32)), ",".join(f"k{number}=1" for number in range(32))),
        (",".join(["", *(f"k{number}=1" for number in range(32)), ""]), ",".join(f"k{number}=1" for number in range(32))),
        ("a=1,b=" + "x" * 200 + "," + ",".join(f"c{number}=" + "x" * 250 for number in range(16)) + ",d=2", "a=1,d=2"),
        ("A=1", ""),
        ("a", ""),
        ("a=", ""),
        ("a=b=c", ""),
        ("a=é", ""),
        (",".join(f"k{number}=1" for number in range(33)), ""),
        ("a=" + "x" * 5000, ""),
    ],
)
def test_tracestate_is_carried_on_where_it_is_valid(header, carried):
    assert start(traceparent=f"00-{TRACE}-{PARENT}-01", tracestate=header).tracestate == carried


def test_tracestate_without_traceparent_is_nothing():
    assert start(tracestate="a=1").tracestate == ""


@pytest.mark.parametrize("trace", [UUID_TRACE, UUID_TRACE.upper(), TRACE])
def test_the_gin_services_headers_are_continued_in_their_spelling(trace):
    span = start(x_trace_id=trace, x_span_id=UUID_SPAN)
    assert span.trace_id == TRACE
    assert span.parent_span_id == "d87e8bb69fb54422"
    assert span.trace_id_spelled == trace
    assert span.parent_spelled == UUID_SPAN


def test_our_own_span_id_in_an_x_header():
    span = start(x_trace_id=TRACE, x_span_id=PARENT)
    assert (span.parent_span_id, span.parent_spelled) == (PARENT, PARENT)


@pytest.mark.parametrize("trace", ["", "0" * 32, "x" * 32, TRACE + "0", "4bf92f35_77b3_4da6_a3ce_929d0e0e4736", "a\nb"])
def test_a_malformed_x_trace_id_counts_as_absent(trace):
    assert is_new(start(x_trace_id=trace, x_span_id=UUID_SPAN))


@pytest.mark.parametrize("span_id", ["", "0" * 16, "short", "0" * 16 + "a" * 16])
def test_a_malformed_x_span_id_leaves_the_trace_without_parent(span_id):
    span = start(x_trace_id=UUID_TRACE, x_span_id=span_id)
    assert (span.trace_id, span.parent_span_id, span.parent_spelled) == (TRACE, "", "")


def test_both_kinds_that_name_the_same_trace():
    span = start(traceparent=f"00-{TRACE}-{PARENT}-01", x_trace_id=UUID_TRACE, x_span_id=UUID_SPAN)
    assert span.parent_span_id == PARENT
    assert span.trace_id_spelled == UUID_TRACE
    assert span.parent_spelled == UUID_SPAN


def test_both_kinds_that_name_different_traces():
    other = "11111111-2222-3333-4444-555555555555"
    span = start(traceparent=f"00-{TRACE}-{PARENT}-01", x_trace_id=other, x_span_id=UUID_SPAN)
    assert (span.trace_id_spelled, span.parent_spelled) == (TRACE, PARENT)


def test_a_malformed_traceparent_leaves_the_x_headers():
    assert start(traceparent="00-nonsense", x_trace_id=UUID_TRACE, x_span_id=UUID_SPAN).trace_id == TRACE


def test_at_the_edge_nothing_is_trusted():
    assert is_new(start(trust=False, traceparent=f"00-{TRACE}-{PARENT}-01", x_trace_id=UUID_TRACE, x_span_id=UUID_SPAN))


def test_outgoing_headers_link_spans_through_the_call_and_log_lines_request_to_request():
    span = start(x_trace_id=UUID_TRACE, x_span_id=UUID_SPAN)
    call = spans.Span(span, "GET", span.span_id)
    headers = propagation.outgoing_headers(call)
    version, trace_id, call_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert call_id == call.span_id
    assert call_id not in (span.span_id, span.parent_span_id)
    assert headers["X-Trace-ID"] == UUID_TRACE
    assert headers["X-Span-ID"] == span.span_id
    assert "tracestate" not in headers

    received = start(**{name.replace("-", "_"): value for name, value in headers.items()})
    assert (received.trace_id, received.parent_span_id) == (TRACE, call_id)
    assert (received.trace_id_spelled, received.parent_spelled) == (UUID_TRACE, span.span_id)


def test_an_unsampled_trace_stays_unsampled():
    span = start(traceparent=f"00-{TRACE}-{PARENT}-00", tracestate="a=1")
    headers = propagation.outgoing_headers(span)
    assert headers["traceparent"].endswith("-00")
    assert headers["tracestate"] == "a=1"


@pytest.mark.parametrize(
    ("propagate_to", "host", "allowed"),
    [
        (None, "anywhere", True),
        ((), "anywhere", False),
        (("shop.internal",), "SHOP.internal", True),
        (("shop.internal",), "evil-shop.internal", False),
        ((".example.com",), "a.example.com", True),
        ((".example.com",), "example.com", True),
        ((".example.com",), "notexample.com", False),
    ],
)
def test_which_hosts_get_trace_headers(propagate_to, host, allowed):
    span = spans.RequestSpan("a" * 32, "b" * 16, spans.Options(propagate_to=propagate_to))
    assert propagation.may_propagate(span, host) is allowed


def test_ids_do_not_repeat_where_the_application_seeds_random():
    import random

    ids = set()
    for _ in range(3):
        random.seed(1)
        ids |= {spans.new_trace_id(), spans.new_span_id()}
    assert len(ids) == 6


@pytest.mark.parametrize(
    ("flags", "carried"), [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03"), ("fc", "00")]
)
def test_the_flags_that_are_known_are_carried_on_and_no_other(flags, carried):
    span = start(traceparent=f"00-{TRACE}-{PARENT}-{flags}")
    assert propagation.outgoing_headers(span)["traceparent"].endswith(f"-{carried}")


def test_a_new_trace_says_that_its_id_is_random():
    assert propagation.outgoing_headers(start())["traceparent"].endswith("-03")
    assert propagation.outgoing_headers(start(rate=0.0))["traceparent"].endswith("-02")


def test_an_id_that_only_x_headers_brought_is_not_said_to_be_random():
    assert propagation.outgoing_headers(start(x_trace_id=UUID_TRACE))["traceparent"].endswith("-01")


def test_the_callers_decision_to_sample_is_followed_whatever_the_rate():
    assert start(rate=0.0, traceparent=f"00-{TRACE}-{PARENT}-01").sampled
    assert not start(rate=1.0, traceparent=f"00-{TRACE}-{PARENT}-00").sampled


def test_at_the_edge_the_decision_is_ones_own():
    assert not start(trust=False, rate=0.0, traceparent=f"00-{TRACE}-{PARENT}-01").sampled


def test_services_that_know_only_the_id_decide_alike():
    low, high = "ffffffff-ffff-4fff-bf00-000000000000", "00000000-0000-4000-80ff-ffffffffffff"
    assert not start(rate=0.001, x_trace_id=low).sampled
    assert start(rate=0.001, x_trace_id=high).sampled
    half = "00000000-0000-4000-8080-000000000000"
    assert start(rate=0.5, x_trace_id=half).sampled
    assert not start(rate=0.499999, x_trace_id=half).sampled
    assert not start(rate=0.0, x_trace_id=high).sampled
    assert start(rate=1.0, x_trace_id=low).sampled


def test_about_the_share_is_sampled():
    sampled = sum(start(rate=0.25).sampled for _ in range(4000))
    assert 800 < sampled < 1200


@pytest.mark.parametrize("header", ["a=" + "b" * 1_000_000, "," * 1_000_000, "a" * 30_000, "é=1", "a=1\r\nX: y"])
def test_a_hostile_tracestate_leaves_the_trace_as_it_is(header):
    span = start(traceparent=f"00-{TRACE}-{PARENT}-01", tracestate=header)
    assert (span.trace_id, span.tracestate) == (TRACE, "")
