"""The columns of calls and attempts as the ledger writes them: order, types, which hold JSON."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Double, Integer, Table

from db.tables import attempts, calls

CALL_COLUMNS = tuple(column.name for column in calls.c)
ATTEMPT_COLUMNS = tuple(column.name for column in attempts.c)
JSON_COLUMNS = tuple(CALL_COLUMNS.index(name) for name in ("tags", "usage", "candidates", "notes"))
"""Positions of the call columns whose value is JSON text."""

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

    def faults(self, values: tuple[Any, ...]) -> list[str]:
        """Names of the columns whose value has the wrong type or is missing; empty when there are none."""
        types = tuple(map(type, values))
        if types in self._fitting:
            return []
        if len(values) != len(self._columns):
            return [f"{len(values)} values for {len(self._columns)} columns"]
        wrong = [column.name for column, value in zip(self._columns, values, strict=True) if not _fits(column, value)]
        if not wrong and len(self._fitting) < _MOST_COMBINATIONS:
            self._fitting.add(types)
        return wrong


def _fits(column: Column[Any], value: Any) -> bool:
    if value is None:
        return bool(column.nullable)
    if isinstance(column.type, Boolean):
        return isinstance(value, bool)
    if isinstance(column.type, Double):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(column.type, Integer):
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, str)
