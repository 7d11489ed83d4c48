"""How a setting is declared: read from a raw value, typed, checked. conf.py declares them all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, overload

T = TypeVar("T")


class HasRaw(Protocol):
    """What settings are declared on: it gives the dict as the user wrote it."""

    def raw(self) -> Mapping[str, Any]: ...


class SettingError(ValueError):
    """A setting has a value it cannot have: what is wrong, and what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Problem:
    """A setting that is wrong, as a system check reports it."""

    check_id: str
    message: str
    hint: str


class Setting(Generic[T]):
    """A property of Settings, made from a method that reads a raw value.

    The method gets the value as it stands in the dict, or None where there is none, and returns it typed or raises SettingError.
    """

    def __init__(self, read: Callable[[Any, Any], T], check_id: str) -> None:
        self.read = read
        self.check_id = check_id
        self.name = read.__name__
        self.__doc__ = read.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, instance: HasRaw, owner: type) -> T: ...
    def __get__(self, instance: HasRaw | None, owner: type) -> T | Setting[T]:
        if instance is None:
            return self
        try:
            return self.read(instance, instance.raw().get(self.name))
        except SettingError:
            return self.read(instance, None)


def setting(check_id: str) -> Callable[[Callable[[Any, Any], T]], Setting[T]]:
    """Declare a setting; a wrong value is reported under this check id."""
    return lambda read: Setting(read, f"monitoring.{check_id}")


def as_string(value: Any, name: str, expected: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SettingError(f"{name} is {value!r}, not a string with something in it.", f"Use {expected}.")
    return value


def as_pattern(item: Any) -> re.Pattern[str]:
    try:
        pattern = re.compile(item)
        pattern.match("")  # bytes match no text
    except (re.error, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise SettingError(
            f"EXCLUDE_PATHS holds {str(item)[:100]!r}, which is not a regular expression for text ({error}).",
            r"Write it as in [r'/healthz$'].",
        ) from None
    return pattern


def as_boolean(value: Any, name: str, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise SettingError(f"{name} is {value!r}.", "Use True or False.")
    return value


def as_path(value: Any, name: str, expected: str) -> str:
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not os.path.isabs(path) or not path.isprintable():
        raise SettingError(f"{name} is {value!r}.", f"Use {expected}.")
    return path
