"""The values within a metrics document, read strictly: each either is what it should be, or an error that says where and why."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from monitoring import histogram

UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_MAX_COUNT = 2**48  # a million requests a second for nine years; a year of intervals of it still adds up in 63 bits
_MAX_SECONDS = 1e15
_INDEXES = {str(index): index for index in range(histogram.MIN_INDEX, histogram.MAX_INDEX + 1)}
_CODES = {f"{code:03d}": code for code in range(1000)}


class DocumentError(ValueError):
    """What was received is not a metrics document; the message says where and why."""


def buckets(value: Any, scale: int | None) -> dict[int, int] | None:
    if not isinstance(value, dict):
        raise DocumentError(f'"buckets" is {kind(value)}, not an object')
    if scale is None or scale < histogram.SCALE:  # coarser than ours: cannot be made finer
        return None
    plain = _plain_buckets(value) if scale == histogram.SCALE else None
    if plain is not None:
        return plain
    buckets: dict[int, int] = {}
    for key, number in value.items():
        try:
            index = int(key) >> (scale - histogram.SCALE)
        except ValueError:
            raise DocumentError(f'"buckets" has the key {quote(key)}, which is not a bucket index') from None
        index = min(max(index, histogram.MIN_INDEX), histogram.MAX_INDEX)
        buckets[index] = buckets.get(index, 0) + count(number, "buckets", key)
    return buckets


def _plain_buckets(value: Mapping[str, Any]) -> dict[int, int] | None:
    """The buckets where all are as our own services write them, quickly: a document is mostly these. None where one is not."""
    try:
        buckets: dict[int, int] = dict(zip(map(_INDEXES.__getitem__, value), value.values(), strict=True))
    except KeyError:
        return None
    if not buckets:
        return buckets
    if set(map(type, value.values())) != {int} or min(value.values()) < 0 or max(value.values()) > _MAX_COUNT:
        return None
    return buckets


def status_code(key: str) -> int:
    code = _CODES.get(key)
    if code is None:
        raise DocumentError(f'"status_codes" has the key {quote(key)}, which is not a status code')
    return code


def count(value: Any, name: str, key: str | None = None) -> int:
    if type(value) is int and 0 <= value <= _MAX_COUNT:
        return value
    said = f'"{name}"' if key is None else f'"{name}" {quote(key)}'
    if type(value) is not int:
        raise DocumentError(f"{said} is {kind(value)}, not a whole number")
    if value < 0:
        raise DocumentError(f"{said} is negative ({value})")
    raise DocumentError(f"{said} is larger than any counter can be")


def number(value: Any, name: str) -> float:
    if type(value) is float and 0.0 <= value <= _MAX_SECONDS:
        return value
    if type(value) is not float and type(value) is not int:
        raise DocumentError(f'"{name}" is {kind(value)}, not a number')
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise DocumentError(f'"{name}" is not a finite number')
    if number < 0:
        raise DocumentError(f'"{name}" is negative ({number})')
    if number > _MAX_SECONDS:
        raise DocumentError(f'"{name}" is larger than any duration can be')
    return number


def refuse_constant(name: str) -> NoReturn:
    raise DocumentError(f"{name} is not a JSON number")


def quote(text: str) -> str:
    return repr(UNPRINTABLE.sub("\ufffd", text[:80]))


def kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)
