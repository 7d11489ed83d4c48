"""Texts that spans keep: bounded, and without what must never be recorded (credentials, query strings, query parameters)."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import TypeAlias

MAX_TEXT = 1_024
MAX_SQL = 4_096
MAX_STACKTRACE = 16_384
MAX_FRAMES = 40
_MAX_ITEMS = 32

Scalar: TypeAlias = str | bool | int | float
Value: TypeAlias = Scalar | tuple[Scalar, ...]
Attributes: TypeAlias = Mapping[str, Value]

_CREDENTIALS = re.compile(r"://[^/\s'\"<>]*@")
_QUERY_STRING = re.compile(r"((?:://|url: /)[^\s?#'\"<>]*\?)[^\s#'\"<>)]+")
# PostgreSQL and MySQL name the values that broke a constraint.
_CONFLICTING_KEY = re.compile(
    r"(Key \([^)\n]*\)=\().*(\) (?:already exists|is not present|is still referenced|conflicts with)|\)$)", re.M
)
_DUPLICATE_ENTRY = re.compile(r"(Duplicate entry ').*(' for key)")
_FAILING_ROW = re.compile(r"(Failing row contains \().*(\))")


def bounded(text: str, limit: int = MAX_TEXT) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def redact(text: str) -> str:
    """The text without credentials and query strings of URLs, and without the values that databases quote in their errors."""
    if "://" in text or "url: /" in text:
        text = _QUERY_STRING.sub(r"\1***", _CREDENTIALS.sub("://***@", text))
    if "Key (" in text:
        text = _CONFLICTING_KEY.sub(r"\1***\2", text)
    if "Duplicate entry" in text:
        text = _DUPLICATE_ENTRY.sub(r"\1***\2", text)
    if "Failing row" in text:
        text = _FAILING_ROW.sub(r"\1***\2", text)
    return text


def plain(value: object) -> Value:
    """A value that every exporter can carry: others than strings, numbers and sequences of them as their string."""
    if type(value) is str:
        return bounded(value)
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    if isinstance(value, list | tuple):
        items = (plain(item) for item in value[:_MAX_ITEMS])
        return tuple(item if not isinstance(item, tuple) else bounded(str(item)) for item in items)
    try:
        return bounded(str(value))
    except Exception:  # noqa: BLE001
        return f"<{type(value).__name__}, whose __str__ fails>"


def type_name(kind: type[BaseException]) -> str:
    """`ValueError`, `django.db.utils.IntegrityError`."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def exception_attributes(error: BaseException, with_stacktrace: bool = True) -> dict[str, Value]:
    """By OpenTelemetry's conventions (https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-spans/)."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001
        message = "<no message: its __str__ fails>"
    attributes: dict[str, Value] = {
        "exception.type": type_name(type(error)),
        "exception.message": redact(bounded(message)),
    }
    if with_stacktrace:
        attributes["exception.stacktrace"] = _stacktrace(error, message)
    return attributes


def _stacktrace(error: BaseException, message: str) -> str:
    trace: TracebackType | None = error.__traceback__
    if len(message) > MAX_TEXT:  # it would fill the stack trace
        frames = "".join(traceback.format_tb(trace, limit=-MAX_FRAMES))
        text = f"Traceback (most recent call last):\n{frames}{type_name(type(error))}: {bounded(message)}\n"
    else:
        text = "".join(traceback.format_exception(type(error), error, trace, limit=-MAX_FRAMES))
    if len(text) > MAX_STACKTRACE:
        text = text[: MAX_STACKTRACE // 4] + "\n…\n" + text[-MAX_STACKTRACE * 3 // 4 :]
    return redact(text)
