"""Tables that sort by column: which columns there are, and rows in the order that the address asks for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from monitoring.dashboard.rows import EndpointRow, ServiceRow

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A column one can sort by. `value` may give None, which stands last in both directions."""

    key: str
    label: str
    value: Callable[[Row], Any]
    numeric: bool = True
    """Right-aligned, and its first click sorts the largest first."""


@dataclass(frozen=True, slots=True)
class Header:
    """A column's head, with the sort order that a click on it asks for."""

    key: str
    label: str
    numeric: bool
    sort: str
    direction: str
    """ "ascending", "descending", or empty where the table is not sorted by it."""


class Table(Generic[Row]):
    """The columns of a table, and its order where none is asked for. `sort` is a column's key, with "-" in front: descending."""

    def __init__(self, columns: Iterable[Column[Row]], default: str, tie: Callable[[Row], Any]) -> None:
        self.columns: Mapping[str, Column[Row]] = {column.key: column for column in columns}
        self.default = default
        self._tie = tie

    @property
    def sorts(self) -> list[str]:
        """All that `sort` can be."""
        return [sign + key for key in self.columns for sign in ("", "-")]

    def sorted(self, rows: Iterable[Row], sort: str) -> list[Row]:
        value = self.columns[sort.removeprefix("-")].value
        ordered = sorted(rows, key=self._tie)
        known = sorted((row for row in ordered if value(row) is not None), key=value, reverse=sort.startswith("-"))
        return known + [row for row in ordered if value(row) is None]

    def headers(self, sort: str) -> list[Header]:
        return [self._header(column, sort) for column in self.columns.values()]

    def _header(self, column: Column[Row], sort: str) -> Header:
        first, second = (f"-{column.key}", column.key) if column.numeric else (column.key, f"-{column.key}")
        direction = ""
        if sort.removeprefix("-") == column.key:
            direction = "descending" if sort.startswith("-") else "ascending"
        return Header(column.key, column.label, column.numeric, second if sort == first else first, direction)


SERVICES: Table[ServiceRow] = Table(
    (
        Column("state", "State", lambda row: row.condition.severity, numeric=False),
        Column("name", "Service", lambda row: row.name.casefold(), numeric=False),
        Column("rate", "Requests", lambda row: row.figures.rate),
        Column("errors", "Errors", lambda row: row.figures.error_rate),
        Column("average", "Average", lambda row: row.figures.average),
        Column("p95", "p95", lambda row: row.figures.p95),
    ),
    default="state",
    tie=lambda row: (row.name.casefold(), row.name),
)

ENDPOINTS: Table[EndpointRow] = Table(
    (
        Column("endpoint", "Endpoint", lambda row: (row.route, row.method), numeric=False),
        Column("rate", "Requests", lambda row: row.figures.rate),
        Column("errors", "Errors", lambda row: row.figures.error_rate),
        Column("average", "Average", lambda row: row.figures.average),
        Column("p50", "p50", lambda row: row.figures.p50),
        Column("p95", "p95", lambda row: row.figures.p95),
        Column("max", "Max", lambda row: row.figures.maximum),
    ),
    default="-rate",
    tie=lambda row: (row.route, row.method),
)
