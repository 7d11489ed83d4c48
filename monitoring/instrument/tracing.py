"""The current span, and spans of one's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from monitoring.instrument.spans import RequestSpan, Span
from monitoring.instrument.texts import bounded

P = ParamSpec("P")
R = TypeVar("R")

_current: ContextVar[Span | None] = ContextVar("monitoring_current_span", default=None)

current_span = _current.get
"""The innermost span that is being worked on in this thread or task; None outside a request."""

make_current = _current.set
"""Make a span current; hand the token to `restore()` when it ends."""

reset_current = _current.reset


def restore(token: Token[Span | None]) -> None:
    try:
        _current.reset(token)
    except ValueError:  # ended in another context than it began in, as a generator can
        _current.set(None if token.old_value is Token.MISSING else token.old_value)


class span:
    """A span of one's own, as context manager (`with`, `async with`) and as decorator of functions and coroutine functions::

        with span("price basket", items=3) as current:
            current.set_attribute("total", 12.5)

    An exception that leaves it is recorded. Outside a request it does nothing.
    """

    __slots__ = ("_attributes", "_name", "_span", "_token")

    def __init__(self, name: str, /, **attributes: object) -> None:
        self._name = name
        self._attributes = attributes
        self._token: Token[Span | None] | None = None

    def __enter__(self) -> Span:
        parent = _current.get()
        if parent is None:
            self._span: Span = _outside()
            return self._span
        request = parent.request
        self._span = current = Span(request, bounded(str(self._name), 128), parent.span_id)
        if request.children is not None:
            request.keep(current)
            for name, value in self._attributes.items():
                current.set_attribute(name, value)
        self._token = _current.set(current)
        return current

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._token is None:
            return
        if isinstance(error, Exception):  # not a cancelled task or a closed generator: those have not failed
            self._span.record_exception(error)
        self._span.end()
        restore(self._token)

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        name, attributes = self._name, self._attributes
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"span() cannot decorate the generator {function.__qualname__}: use `with span(...)` inside it.")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaiting(*args: P.args, **kwargs: P.kwargs) -> Any:
                with span(name, **attributes):
                    return await function(*args, **kwargs)

            return awaiting  # type: ignore[return-value]

        @functools.wraps(function)
        def calling(*args: P.args, **kwargs: P.kwargs) -> R:
            with span(name, **attributes):
                return function(*args, **kwargs)

        return calling


def with_current_span(function: Callable[P, R]) -> Callable[P, R]:
    """The function, to be called in another thread with the span that is current here::

        executor.submit(with_current_span(work), item)

    Tasks of asyncio, and asyncio.to_thread(), have it by themselves. What a thread does after the request has ended is not kept.
    """
    current = _current.get()

    @functools.wraps(function)
    def calling(*args: P.args, **kwargs: P.kwargs) -> R:
        token = _current.set(current)
        try:
            return function(*args, **kwargs)
        finally:
            _current.reset(token)

    return calling


def _outside() -> Span:
    """Stands for a span where no request is: takes everything, keeps nothing."""
    return Span(RequestSpan("", ""), "", "")
