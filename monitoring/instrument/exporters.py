"""Where finished spans go. An exporter is any object with `export(traces)`; one that writes to a file is here.

Exporters run on threads of their own (exporting.py): one that raises costs the spans it was given, one that hangs those that find
no room behind it, and neither costs a request anything.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from monitoring.instrument import linefile, otlp
from monitoring.instrument.spans import Span


@dataclass(frozen=True)
class Trace:
    """One request's part of a trace: its request span first, then the spans within it in the order in which they began."""

    service_name: str
    spans: tuple[Span, ...]


class Exporter(Protocol):
    """What the setting EXPORTERS names: a class that is called with its OPTIONS as keyword arguments."""

    def export(self, traces: Sequence[Trace]) -> None:
        """Take the traces of some requests, on a thread of this exporter's own; they are finished, and not to be changed."""


class FileExporter:
    """Appends a line of OpenTelemetry's JSON for each request, in one write, to a file that any number of processes share.

    The OpenTelemetry Collector's otlpjsonfile receiver reads it (https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/).
    The file may be rotated.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.file = linefile.shared(os.fspath(path), "file of spans")

    def export(self, traces: Sequence[Trace]) -> None:
        for trace in traces:
            self.file.write(otlp.encode(trace.service_name, trace.spans) + "\n")
