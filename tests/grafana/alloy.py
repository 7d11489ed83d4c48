"""As much of Grafana Alloy as grafana/config.alloy uses: its syntax, and the stages of loki.process.

Syntax: https://grafana.com/docs/alloy/latest/get-started/configuration-syntax/; stages:
https://grafana.com/docs/alloy/latest/reference/components/loki/loki.process/. What is not known here raises, so that nothing in
the configuration goes untested. Go's regular expressions are taken for Python's with re.ASCII: those in the file mean the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

_TOKEN = re.compile(
    r'\s+|//[^\n]*|(?P<raw>`[^`]*`)|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<name>[A-Za-z_][\w.]*)|(?P<mark>[{}\[\]=,])'
)
_SELECTOR = re.compile(r'\{(?P<labels>[^}]*)\}(?P<filters>(?: \|~ "[^"]*")*)')
_LAYOUTS = {"2006/01/02 15:04:05": "%Y/%m/%d %H:%M:%S", "RFC3339Nano": "%Y-%m-%dT%H:%M:%S.%f%z"}


@dataclass
class Block:
    """`name "label" { attributes and blocks }`, in their order."""

    name: str
    label: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)


@dataclass
class Entry:
    """A line on its way through the stages."""

    line: str
    labels: dict[str, str]
    extracted: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    timestamp: datetime | None = None


def parse(text: str) -> list[Block]:
    """The configuration's blocks. Raises ValueError."""
    tokens = list(_tokens(text))
    body = Block("")
    if _body(tokens, 0, body) != len(tokens):
        raise ValueError("a brace too many")
    return body.blocks


def process(component: Block, line: str, labels: dict[str, str]) -> Entry:
    """A line with its first labels, after all stages of a loki.process."""
    entry = Entry(line, dict(labels), extracted=dict(labels))
    _stages(component.blocks, entry)
    return entry


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"not Alloy's syntax: {text[position : position + 40]!r}")
        position = match.end()
        if match.lastgroup == "raw":
            yield "string", match.group()[1:-1]
        elif match.lastgroup == "string":
            yield "string", json.loads(match.group())
        elif match.lastgroup:
            yield match.lastgroup, match.group()


def _body(tokens: list[tuple[str, str]], at: int, body: Block) -> int:
    while at < len(tokens) and tokens[at] != ("mark", "}"):
        kind, name = tokens[at]
        if kind != "name":
            raise ValueError(f"{name!r} is where a name should be")
        if tokens[at + 1] == ("mark", "="):
            body.attributes[name], at = _value(tokens, at + 2)
            continue
        block = Block(name)
        at += 1
        if tokens[at][0] == "string":
            block.label, at = tokens[at][1], at + 1
        if tokens[at] != ("mark", "{"):
            raise ValueError(f"{name} is neither an attribute nor a block")
        at = _body(tokens, at + 1, block)
        if at >= len(tokens):
            raise ValueError(f"{name} has no end")
        body.blocks.append(block)
        at += 1
    return at


def _value(tokens: list[tuple[str, str]], at: int) -> tuple[Any, int]:
    kind, text = tokens[at]
    if kind in ("string", "name"):  # a name is a reference to a component
        return text, at + 1
    value: Any = [] if text == "[" else {}
    end = {"[": "]", "{": "}"}[text]
    at += 1
    while tokens[at] != ("mark", end):
        if end == "]":
            item, at = _value(tokens, at)
            value.append(item)
        else:
            key = tokens[at][1]
            if tokens[at + 1] != ("mark", "="):
                raise ValueError(f"{key} has no value")
            value[key], at = _value(tokens, at + 2)
        if tokens[at] == ("mark", ","):
            at += 1
        elif tokens[at] != ("mark", end):
            raise ValueError(f"a comma is missing before {tokens[at][1]!r}")
    return value, at + 1


def _stages(stages: list[Block], entry: Entry) -> None:
    for stage in stages:
        if stage.name == "stage.match":
            if _selects(stage.attributes["selector"], entry):
                _stages(stage.blocks, entry)
        else:
            _STAGES[stage.name](entry, **stage.attributes)


def _selects(selector: str, entry: Entry) -> bool:
    match = _SELECTOR.fullmatch(selector)
    if match is None:
        raise ValueError(f"a selector that is not known here: {selector}")
    wanted = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"]))
    filters = re.findall(r'\|~ "([^"]*)"', match["filters"])
    return wanted.items() <= entry.labels.items() and all(re.search(text, entry.line, re.ASCII) for text in filters)


def _regex(entry: Entry, expression: str, source: str | None = None) -> None:
    match = re.search(expression, entry.line if source is None else entry.extracted.get(source, ""), re.ASCII)
    if match is not None:
        entry.extracted.update({name: value or "" for name, value in match.groupdict().items()})


def _json(entry: Entry, expressions: dict[str, str]) -> None:
    try:
        found = json.loads(entry.line)
    except ValueError:
        return
    entry.extracted.update({name: found.get(path or name) for name, path in expressions.items()})


def _timestamp(entry: Entry, source: str, format: str) -> None:  # noqa: A002 (the attribute's name)
    if entry.extracted.get(source):
        moment = datetime.strptime(entry.extracted[source], _LAYOUTS[format])
        entry.timestamp = moment.replace(tzinfo=moment.tzinfo or timezone.utc)


def _taken(entry: Entry, values: dict[str, str]) -> dict[str, str]:
    found = {name: entry.extracted.get(source or name) for name, source in values.items()}
    return {name: str(value) for name, value in found.items() if value is not None}


def _labels(entry: Entry, values: dict[str, str]) -> None:
    entry.labels.update(_taken(entry, values))


def _structured_metadata(entry: Entry, values: dict[str, str]) -> None:
    entry.metadata.update(_taken(entry, values))


_STAGES: dict[str, Any] = {
    "stage.regex": _regex,
    "stage.json": _json,
    "stage.timestamp": _timestamp,
    "stage.labels": _labels,
    "stage.structured_metadata": _structured_metadata,
}
