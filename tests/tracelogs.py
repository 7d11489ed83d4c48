"""Trace logs written by hand, for the tests of what finds and shows them."""

from __future__ import annotations

from pathlib import Path

from monitoring.tracelines import TraceLine, text_line

SAMPLES = Path(__file__).parent / "samples"
TRACE = "8678e9fefec54a2f9db19906b06c4dc8"
OTHER = "0123456789abcdef0123456789abcdef"
NOW = 1728278659.0


def span_id(number: int) -> str:
    """0 is none: the parent of a root."""
    return f"{number:016x}" if number else ""


def line(
    span: int = 1,
    parent: int = 0,
    *,
    service: str = "shop",
    trace_id: str = TRACE,
    moment: float = NOW,
    duration: float = 0.004,
    status: int = 200,
    method: str = "GET",
    path: str = "/process",
) -> TraceLine:
    return TraceLine(moment, service, trace_id, span_id(span), span_id(parent), method, path, duration, status)


def write(path: Path, *lines: TraceLine) -> str:
    """A log of these lines, as text; its path."""
    path.write_text("".join(map(text_line, lines)), encoding="utf-8")
    return str(path)
