"""What the check found about one setting."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

SETTINGS = {"address": "URL", "token": "TOKEN", "organisation": "ORG", "bucket": "BUCKET"}
"""What is checked, in the order in which it is told, and the key of MONITORING["INFLUXDB"] that says it."""

_MAX_NAME_LENGTH = 40
_MAX_LISTED = 200  # characters of names in one finding


class Verdict(Enum):
    """The values are what stands before a finding's text."""

    OK = "ok"
    WRONG = "WRONG"
    UNKNOWN = "?"


@dataclass(frozen=True)
class Finding:
    """`what` is one of SETTINGS; `text` is one line and says, where something is wrong, which setting to change to what."""

    what: str
    verdict: Verdict
    text: str


def ok(what: str, text: str) -> Finding:
    return Finding(what, Verdict.OK, text)


def wrong(what: str, text: str) -> Finding:
    return Finding(what, Verdict.WRONG, text)


def unknown(what: str, text: str) -> Finding:
    return Finding(what, Verdict.UNKNOWN, f"Cannot be told: {text}")


def not_used(what: str, server: str, why: str) -> Finding:
    return ok(what, f"{server} {why}: INFLUXDB[{SETTINGS[what]!r}] is not looked at.")


def missing(what: str, kind: str, name: str, seen: Sequence[str]) -> Finding:
    """There is none of that name; `kind` is what the server calls it, `seen` are those that the token may see."""
    return wrong(what, f"There is no {kind} {name!r}{_seen(seen)}. {suggestion(what, name, seen)}")


def not_there_yet(what: str, kind: str, name: str, seen: Sequence[str], then: str) -> Finding:
    """There is none of that name, which is no fault as such; `then` says why."""
    close = difflib.get_close_matches(name, seen, n=1)
    meant = f" {suggestion(what, name, seen)}" if close else ""
    return Finding(what, Verdict.UNKNOWN, f"There is no {kind} {name!r} yet{_seen(seen)}. {then}{meant}")


def suggestion(what: str, name: str, seen: Sequence[str]) -> str:
    setting = f"INFLUXDB[{SETTINGS[what]!r}]"
    close = difflib.get_close_matches(name, seen, n=1)
    return f"Should {setting} be {shortened(close[0])!r}?" if close else f"Create it, or change {setting}."


def _seen(names: Sequence[str]) -> str:
    return f"; the token sees: {listed(names)}" if names else ""


def listed(names: Sequence[str]) -> str:
    """As many of the names as one line has room for."""
    shown: list[str] = []
    while len(shown) < len(names) and sum(map(len, shown)) < _MAX_LISTED:
        shown.append(shortened(names[len(shown)]))
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def shortened(name: str) -> str:
    return name if len(name) <= _MAX_NAME_LENGTH else f"{name[: _MAX_NAME_LENGTH - 1]}…"
