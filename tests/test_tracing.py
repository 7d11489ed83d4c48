"""Spans of one's own: as context manager and decorator, in whatever runs them, with whatever they are given."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from monitoring.instrument import spans, tracing
from monitoring.instrument.spans import Options, RequestSpan
from monitoring.instrument.texts import exception_attributes, plain, redact
from monitoring.instrument.tracing import current_span, span, with_current_span


@pytest.fixture
def request_span():
    current = RequestSpan("a" * 32, "b" * 16, Options(exports=True))
    current.keep_children()
    token = tracing.make_current(current)
    yield current
    tracing.restore(token)


def names(request_span):
    return [child.name for child in request_span.children]


def test_the_current_span_is_the_innermost(request_span):
    with span("outer") as outer:
        assert current_span() is outer
        with span("inner") as inner:
            assert current_span() is inner
            assert inner.parent_span_id == outer.span_id
        assert current_span() is outer
        assert outer.parent_span_id == request_span.span_id
    assert current_span() is request_span
    assert outer.duration >= inner.duration > 0


def test_a_decorated_function_is_a_span_a_call_and_keeps_its_face(request_span):
    @span("work", kind_of="sync")
    def work(n):
        """Does it."""
        return n if n == 0 else work(n - 1)

    assert work(2) == 0
    assert work.__doc__ == "Does it."
    assert names(request_span) == ["work"] * 3
    assert request_span.children[1].parent_span_id == request_span.children[0].span_id


def test_a_decorated_coroutine_function_spans_its_whole_run(request_span):
    @span("work")
    async def work():
        await asyncio.sleep(0)
        return current_span().name

    assert asyncio.iscoroutinefunction(work)
    assert asyncio.run(work()) == "work"
    assert request_span.children[0].ended is not None


def test_generators_cannot_be_decorated():
    def numbers():
        yield 1

    async def later():
        yield 1

    for function in (numbers, later):
        with pytest.raises(TypeError, match="inside it"):
            span("x")(function)


def test_an_exception_is_recorded_and_goes_on(request_span):
    with pytest.raises(KeyError), span("failing"):
        raise KeyError("x")
    (child,) = request_span.children
    assert child.error == "KeyError"
    (event,) = child.events
    assert event.name == "exception"
    assert event.attributes["exception.message"] == "'x'"
    assert request_span.error is None


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, KeyboardInterrupt])
def test_what_is_no_failure_is_none(request_span, kind):
    with pytest.raises(kind), span("ended"):
        raise kind
    assert request_span.children[0].error is None
    assert request_span.children[0].ended is not None


def test_outside_a_request_it_does_nothing():
    @span("decorated")
    def work():
        return current_span()

    with span("x", a=1) as outside:
        outside.set_attribute("b", 2)
        outside.add_event("c")
        outside.record_exception(ValueError())
        assert current_span() is None
    assert work() is None
    assert outside.attributes is None
    assert outside.events is None


def test_of_a_request_that_is_not_sampled_nothing_is_kept_but_the_ids_are_there():
    current = RequestSpan("a" * 32, "b" * 16, Options(exports=True))
    token = tracing.make_current(current)
    with span("x", a=1) as inner:
        inner.set_attribute("b", 2)
        assert current_span() is inner
        assert inner.trace_id == "a" * 32
    tracing.restore(token)
    assert inner.attributes is None
    assert current.children is None


class Unprintable:
    def __str__(self):
        raise RuntimeError


class Text(str):
    pass


def test_attributes_are_plain_and_bounded(request_span):
    with span("x") as one:
        for name, value in {
            "text": "a",
            "sub": Text("b"),
            "flag": True,
            "number": 3,
            "float": 0.5,
            "list": ["a", 1, [2]],
            "huge": 2**70,
            "unprintable": Unprintable(),
            "path": threading.current_thread,
            3: "a name that is none",
            "long": "x" * 5000,
        }.items():
            one.set_attribute(name, value)
    found = one.attributes
    assert (found["text"], found["sub"], found["flag"], found["number"], found["float"]) == ("a", "b", True, 3, 0.5)
    assert type(found["sub"]) is str
    assert found["list"] == ("a", 1, "(2,)")
    assert found["huge"] == str(2**70)
    assert "__str__ fails" in found["unprintable"]
    assert found["3"] == "a name that is none"
    assert len(found["long"]) == 1024


def test_attributes_are_bounded_in_number(request_span):
    with span("x") as one:
        for number in range(1000):
            one.set_attribute(f"a{number}", number)
    assert len(one.attributes) == spans.MAX_ATTRIBUTES
    assert one.dropped_attributes == 1000 - spans.MAX_ATTRIBUTES


def test_with_current_span_works_in_many_threads_at_once(request_span):
    barrier = threading.Barrier(4)

    def work(number):
        barrier.wait(30)
        with span(f"item {number}") as one:
            return one.parent_span_id

    with span("pool") as pool, ThreadPoolExecutor(4) as executor:
        parents = list(executor.map(with_current_span(work), range(4)))
        assert executor.submit(current_span).result() is None
    assert parents == [pool.span_id] * 4


def test_a_span_that_outlives_its_request_is_not_kept(request_span):
    with span("outlives") as one:
        request_span.ended = 1.0
    assert one.ended is None
    with span("late"):
        pass
    assert names(request_span) == ["outlives"]


def test_a_span_may_end_in_another_context_than_it_began_in(request_span):
    scope = span("x")
    contextvars.copy_context().run(scope.__enter__)
    scope.__exit__(None, None, None)
    assert current_span() is request_span


def test_a_request_span_is_gone_with_its_last_reference():
    class Watched(RequestSpan):
        pass

    gc.disable()
    try:
        current = Watched("a" * 32, "b" * 16)
        gone = weakref.ref(current)
        del current
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("nothing", "nothing"),
        ("postgres://user:pa@ss@db:5432/shop", "postgres://***@db:5432/shop"),
        ("see https://a.example/x?token=1&b=2 there", "see https://a.example/x?*** there"),
        ("Max retries exceeded with url: /pay?card=1 (Caused by", "Max retries exceeded with url: /pay?*** (Caused by"),
        ("'https://u:p@h/?q=1'", "'https://***@h/?***'"),
        ("DETAIL:  Key (email)=(a@b.c) already exists.", "DETAIL:  Key (email)=(***) already exists."),
        ("Duplicate entry 'a@b.c' for key 'email'", "Duplicate entry '***' for key 'email'"),
        ("Failing row contains (1, a@b.c, null).", "Failing row contains (***)."),
    ],
)
def test_what_must_not_be_recorded_is_taken_out(text, redacted):
    assert redact(text) == redacted


@pytest.mark.parametrize("unit", ["://", "a", "://a?", "Key (a)=(", "url: /", "Duplicate entry '", "@", "Failing row contains ("])
def test_no_text_takes_long(unit):
    assert isinstance(redact(unit * (16_384 // len(unit)) + "://"), str)


def test_a_chain_of_exceptions_and_a_deep_stack_are_bounded():
    def deep(n):
        if n:
            deep(n - 1)
        raise ValueError("x" * 100_000) from KeyError("y" * 100_000)

    for depth in (0, 500):
        with pytest.raises(ValueError) as caught:
            deep(depth)
        found = exception_attributes(caught.value)
        assert len(found["exception.message"]) <= 1024
        assert len(found["exception.stacktrace"]) < 17_000
        assert "Traceback" in found["exception.stacktrace"]


def test_a_plain_value_is_what_json_can_carry():
    assert plain(float("inf")) == float("inf")
    assert plain(None) == "None"
