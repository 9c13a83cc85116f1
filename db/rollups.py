"""Adding to the rollups: sums per hour and per day, in the order of their keys so that writers never deadlock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table
from sqlalchemy.sql import ColumnElement

from db.bulk import Upsert
from db.tables import (
    daily_dimension_rollups,
    daily_latency_rollups,
    daily_latency_totals,
    daily_rollups,
    dimension_rollups,
    latency_rollups,
    latency_totals,
    rollups,
)

Sums = Mapping[tuple[Any, ...], Sequence[int]]
"""From a rollup's key, in the order of the table's first columns, to what is added to the others."""


def _adding(target: Table) -> Upsert:
    def add(column: Column[Any], incoming: ColumnElement[Any]) -> ColumnElement[Any]:
        return target.c[column.name] + incoming

    return Upsert(target, add)


_UPSERTS = {
    table.name: _adding(table)
    for table in (
        rollups,
        dimension_rollups,
        latency_rollups,
        latency_totals,
        daily_rollups,
        daily_dimension_rollups,
        daily_latency_rollups,
        daily_latency_totals,
    )
}


def add_to_rollups(connection: Connection, sums: Mapping[str, Sums]) -> None:
    """Add to each table, by its name; a row that does not exist yet starts at these sums."""
    for name in sorted(sums):
        rows = [(*key, *added) for key, added in sorted(sums[name].items()) if any(added)]
        _UPSERTS[name].write(connection, rows)
