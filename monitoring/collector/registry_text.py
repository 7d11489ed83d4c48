"""The text of a registry file to plain data: JSON or YAML, of bounded size, without what makes YAML dangerous."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

MAX_BYTES = 1 << 20
"""The largest file that is read: some ten thousand services."""

_QUOTES = 'A schedule has to be in quotes: schedule: "*/5 * * * *".'


class FileRefusedError(Exception):
    """The file cannot be imported; nothing was changed. One sentence for each thing that is wrong."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def load(content: bytes) -> Any:
    """The file's data: dicts, lists, strings, numbers, booleans, dates, None. Raises FileRefusedError."""
    if len(content) > MAX_BYTES:
        raise FileRefusedError(
            f"The file is larger than {MAX_BYTES // 1024} KiB. Split it: services that a file leaves out stay."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileRefusedError(f"The file is not UTF-8 text (see byte {error.start}). Save it as UTF-8.") from None
    # YAML contains most of JSON but, as PyYAML reads it, not tabs; and JSON's messages are the better ones for JSON
    return _load_json(text) if text.lstrip().startswith("{") else _load_yaml(text)


def kind(value: Any) -> str:
    """What a value is, as a message says it; never the value, which may be large or secret."""
    if value is None:
        return "empty"
    if value in ([], {}):
        return "an empty list" if value == [] else "an empty mapping"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _load_json(text: str) -> Any:
    def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_repetition(key for key, _value in pairs)
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=without_repetition)
    except RecursionError:
        raise FileRefusedError("The file is nested too deeply.") from None
    except ValueError as error:
        raise FileRefusedError(f"The file is not JSON: {error}.") from None


def _load_yaml(text: str) -> Any:
    import yaml  # only here: most commands never read a file

    class Loader(yaml.SafeLoader):
        """Knows no aliases, which can make a kilobyte mean gigabytes, and no key that stands twice in a mapping."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            events: Any = self  # its methods are not annotated
            if events.check_event(yaml.AliasEvent):
                event = events.peek_event()
                raise FileRefusedError(
                    f"Line {event.start_mark.line + 1}: YAML aliases such as *{event.anchor[:50]} are not read. {_QUOTES}"
                )
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            if isinstance(node, yaml.MappingNode):
                _refuse_repetition(
                    (key.value for key, _value in node.value if isinstance(key, yaml.ScalarNode)),
                    f"Line {node.start_mark.line + 1} and following: ",
                )
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    except RecursionError:
        raise FileRefusedError("The file is nested too deeply.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        hint = f" {_QUOTES}" if error.context == "while scanning an alias" or "character '@'" in (error.problem or "") else ""
        raise FileRefusedError(f"The file is not YAML: {place}{error.problem}.{hint}") from None
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError) as error:
        # beyond its own errors SafeLoader lets through those of a value that is not what its tag says, as in !!int x
        detail = " ".join(str(error).split())[:200]
        raise FileRefusedError(f"The file is not YAML that can be read ({detail}).") from None


def _refuse_repetition(keys: Iterable[str], where: str = "") -> None:
    seen = set()
    for key in keys:
        if key in seen:
            raise FileRefusedError(f"{where}the key {key[:100]!r} stands twice in one entry. Keep one of the two.")
        seen.add(key)
