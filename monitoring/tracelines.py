"""The lines of a trace log, as text and as JSON, written and parsed (docs/architecture.md, "Trace log line")."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime, timezone
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple
from urllib.parse import quote

MAX_PATH = 2_000
"""Characters of a path in a line: the rest is cut off, so that a line stays one atomic write to a pipe, too."""

_MAX_NUMBER = 1e9  # of seconds, and of a status
_MAX_LINE = 64 * 1024  # what is longer than this is no line of a trace log

# What would end a line or hide in one: control characters, Unicode's line breaks, and halves of surrogate pairs.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# The name is the operator's own, so the first ", TraceID: " ends it; a path is anybody's, so the last ", Duration: " does.
_TEXT = re.compile(
    r"(\d{4})/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d) Service: (.*?), TraceID: (\S*), SpanID: (\S*), ParentSpanID: (\S*),"
    r" Method: ([^,]*), Path: (.*), Duration: (\S+), Status: (\d{1,9})",
    re.ASCII,
)
_DURATION = re.compile(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(\d{1,18}(?:\.\d{1,18})?)(ns|µs|μs|us|ms|s)", re.ASCII)
_THOUSANDTHS = ("", *(f".{number:03}".rstrip("0") for number in range(1, 1_000)))
"""Of a number, as its decimals: half the time of formatting a float."""
_EXPONENTS = {"ns": "e-9", "us": "e-6", "µs": "e-6", "μs": "e-6", "ms": "e-3", "s": ""}


class TraceLine(NamedTuple):
    """One request, as a line tells of it."""

    moment: float
    """When it ended, in seconds since the epoch; a text line has whole ones."""
    service_name: str
    trace_id: str
    span_id: str
    parent_span_id: str
    """Of the caller's request span; empty at the root. The ids are in the spelling in which they arrived."""
    method: str
    path: str
    duration: float
    """Seconds."""
    status: int


class TraceLineError(ValueError):
    """Not a line of a trace log."""


def text_line(line: TraceLine) -> str:
    """With its line break. Nothing in a path, method or name makes a second line of it."""
    return format_text(*line)


def json_line(line: TraceLine) -> str:
    """With its line break. The same facts: `time` in RFC 3339, `duration` in seconds."""
    return format_json(*line)


def format_text(
    moment: float,
    service_name: str,
    trace_id: str,
    span_id: str,
    parent_span_id: str,
    method: str,
    path: str,
    duration: float,
    status: int,
) -> str:
    """`text_line()` of the fields of a TraceLine; a request makes none."""
    if not path.isprintable() or len(path) > MAX_PATH:
        path = one_line(path)[:MAX_PATH]
    if not method.isprintable():
        method = one_line(method)
    second, name, beginning = _last_beginning
    if second != int(moment) or name != service_name:
        beginning = _beginning(int(moment), service_name)
    return (
        f"{beginning}{trace_id}, SpanID: {span_id}, ParentSpanID: {parent_span_id},"
        f" Method: {method}, Path: {path}, Duration: {format_duration(duration)}, Status: {status}\n"
    )


def format_json(
    moment: float,
    service_name: str,
    trace_id: str,
    span_id: str,
    parent_span_id: str,
    method: str,
    path: str,
    duration: float,
    status: int,
) -> str:
    """`json_line()` of the fields of a TraceLine."""
    return (
        f'{{"time":"{format_time(moment)}","service_name":{quoted(service_name)},"trace_id":{quoted(trace_id)},'
        f'"span_id":{quoted(span_id)},"parent_span_id":{quoted(parent_span_id)},"method":{quoted(method)},'
        f'"path":{quoted(path[:MAX_PATH])},"duration":{duration:.9f},"status":{status}}}\n'
    )


def parse_line(text: str) -> TraceLine:
    """A line of either form, of ours or of the Gin service's. Raises TraceLineError."""
    if len(text) > _MAX_LINE:
        raise TraceLineError(f"A line of {len(text)} characters is no line of a trace log.")
    text = text.rstrip("\r\n")
    return _parse_json(text) if text.startswith("{") else _parse_text(text)


def format_duration(seconds: float) -> str:
    """As Go's time.Duration prints it: 639.8µs, 4.7664ms, 1.2s, 1m2.5s (https://pkg.go.dev/time#Duration.String)."""
    nanoseconds = round(seconds * 1e9)
    if nanoseconds <= 0:
        return "0s"
    if nanoseconds < 1_000:
        return f"{nanoseconds}ns"
    if nanoseconds < 1_000_000:
        return f"{nanoseconds // 1_000}{_THOUSANDTHS[nanoseconds % 1_000]}µs"
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1e6:.9g}ms"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    text = f"{rest / 1e9:.11g}s"
    if not minutes:
        return text
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"


def parse_duration(text: str) -> float:
    """Seconds, from what Go prints. Raises TraceLineError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise TraceLineError(f"{text[:40]!r} is not a duration such as 4.7664ms.")
    hours, minutes, number, unit = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(number + _EXPONENTS[unit])


def format_time(moment: float) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    seconds, microseconds = divmod(round(moment * 1e6), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{microseconds:06d}Z"


def plain_id(identifier: str) -> str:
    """An id without dashes, in lower case: ids that are the same are equal in it, however they are spelled."""
    return identifier.replace("-", "").lower()


def one_line(text: str) -> str:
    """The text without anything that could break the line: such characters are percent-encoded."""
    if text.isprintable():  # the usual case, and fast
        return text
    return _UNSAFE.sub(lambda match: quote(match.group(), errors="surrogatepass"), text)


_last_beginning = (-1, "", "")


def _beginning(second: int, service_name: str) -> str:
    """Of a line, up to the trace id: made once for all requests that end in this second."""
    global _last_beginning
    stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime(second))
    text = f"{stamp} Service: {one_line(service_name)}, TraceID: "
    _last_beginning = second, service_name, text
    return text


def _parse_text(text: str) -> TraceLine:
    match = _TEXT.fullmatch(text)
    if match is None:
        raise TraceLineError(f"Not a line of a trace log: {text[:80]!r}")
    *stamp, service_name, trace_id, span_id, parent, method, path, duration, status = match.groups()
    year, month, day, hour, minute, second = map(int, stamp)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc).timestamp()
    except ValueError as error:
        raise TraceLineError(f"{text[:19]} is no moment: {error}.") from None
    return TraceLine(moment, service_name, trace_id, span_id, parent, method, path, parse_duration(duration), int(status))


def _parse_json(text: str) -> TraceLine:
    try:
        found = json.loads(text)
        moment = datetime.strptime(found["time"], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
        line = TraceLine(moment, *(found[name] for name in TraceLine._fields[1:]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TraceLineError(f"Not a line of a trace log ({type(error).__name__}: {error}): {text[:80]!r}") from None
    texts = (line.service_name, line.trace_id, line.span_id, line.parent_span_id, line.method, line.path)
    has_types = all(isinstance(text, str) for text in texts) and type(line.duration) in (int, float) and type(line.status) is int
    if not has_types:
        raise TraceLineError(f"A value of the wrong type in a line of a trace log: {text[:80]!r}")
    if not 0 <= line.duration < _MAX_NUMBER or not 0 <= line.status < _MAX_NUMBER:  # NaN is not, either
        raise TraceLineError(f"A number out of range in a line of a trace log: {text[:80]!r}")
    return line._replace(duration=float(line.duration))
