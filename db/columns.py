"""The columns of calls and attempts as the ledger writes them: order, types, which hold JSON."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, String, Table

from db.tables import attempts, calls

CALL_COLUMNS = tuple(column.name for column in calls.c)
ATTEMPT_COLUMNS = tuple(column.name for column in attempts.c)
JSON_COLUMNS = tuple(CALL_COLUMNS.index(name) for name in ("tags", "usage", "candidates", "notes"))
"""Positions of the call columns whose value is JSON text."""

MOST = 2**53
"""Largest number taken for real: a call of nine million dollars or nine quadrillion tokens is a broken record."""
_MOST_SMALL = 2**31 - 1
_MOST_COMBINATIONS = 10_000


def places(names: list[str]) -> tuple[int, ...]:
    """Positions of these columns in a call's values."""
    return tuple(CALL_COLUMNS.index(name) for name in names)


class RowCheck:
    """Says what keeps values from being a row of a table; a combination of types seen before is recognised at once."""

    def __init__(self, table: Table) -> None:
        self.name = table.name
        self._columns = list(table.c)
        self._fitting: set[tuple[type, ...]] = set()
        small = [index for index, column in enumerate(self._columns) if type(column.type) is Integer]
        large = [index for index, column in enumerate(self._columns) if isinstance(column.type, BigInteger)]
        self._small, self._large = itemgetter(*small), itemgetter(*large)

    def faults(self, values: tuple[Any, ...]) -> list[str]:
        """Names of the columns whose value does not fit; empty when all do."""
        types = tuple(map(type, values))
        if types in self._fitting and self._moderate(values):
            return []
        if len(values) != len(self._columns):
            return [f"{len(values)} values for {len(self._columns)} columns"]
        wrong = [column.name for column, value in zip(self._columns, values, strict=True) if not _fits(column, value)]
        if not wrong and len(self._fitting) < _MOST_COMBINATIONS:
            self._fitting.add(types)
        return wrong

    def _moderate(self, values: tuple[Any, ...]) -> bool:
        large, small = filter(None, self._large(values)), filter(None, self._small(values))
        return max(map(abs, large), default=0) <= MOST and max(map(abs, small), default=0) <= _MOST_SMALL


def _fits(column: Column[Any], value: Any) -> bool:
    if value is None:
        return bool(column.nullable)
    if isinstance(column.type, Boolean):
        return isinstance(value, bool)
    if isinstance(column.type, Double):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(column.type, Integer):
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _most(column)
    return isinstance(value, str) and (not isinstance(column.type, String) or _short_enough(column.type, value))


def _most(column: Column[Any]) -> int:
    return MOST if isinstance(column.type, BigInteger) else _MOST_SMALL


def _short_enough(kind: String, value: str) -> bool:
    return kind.length is None or len(value) <= kind.length
