"""Many rows at once with INSERT … ON CONFLICT: executemany on SQLite, COPY and INSERT … SELECT on Postgres."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from psycopg import sql
from sqlalchemy import Column, Connection, Table, Text, any_, bindparam, func, literal, select, table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ColumnElement

Row = tuple[Any, ...]
Change = Callable[[Column[Any], ColumnElement[Any]], ColumnElement[Any]]
"""From a column and its incoming value to what a row that exists already gets."""


class Upsert:
    """One way to write many rows of one table, given as tuples in column order; compiled once."""

    def __init__(self, target: Table, change: Change | None = None, where: ColumnElement[bool] | None = None) -> None:
        self._target = target
        self._change = change
        self._where = where
        self._columns = list(target.c)
        self._staging = f"incoming_{target.name}_{'new' if change is None else 'changed'}"

    def write(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert the rows; those whose key exists are changed as declared, or skipped when nothing is."""
        if not rows:
            return
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(self._for_sqlite, list(rows))
        else:
            self._write_postgres(connection, rows)

    def _write_postgres(self, connection: Connection, rows: Sequence[Row]) -> None:
        raw: Any = connection.connection.driver_connection
        with raw.cursor() as cursor:
            cursor.execute(self._create_staging)
            with cursor.copy(self._copy) as copy:
                for row in rows:
                    copy.write_row(row)
        connection.exec_driver_sql(self._from_staging)

    @cached_property
    def _create_staging(self) -> sql.Composed:
        pattern = sql.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} (LIKE {}) ON COMMIT DELETE ROWS")
        return pattern.format(sql.Identifier(self._staging), sql.Identifier(self._target.name))

    @cached_property
    def _copy(self) -> sql.Composed:
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in self._columns)
        return sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(self._staging), names)

    @cached_property
    def _for_sqlite(self) -> str:
        values: dict[str, Any] = {column.name: bindparam(column.name) for column in self._columns}
        return self._compile(sqlite, sqlite.insert(self._target).values(values))

    @cached_property
    def _from_staging(self) -> str:
        staged = table(self._staging, *[Column(each.name, each.type) for each in self._columns])
        keys = [staged.c[key.name] for key in self._target.primary_key]
        names = [column.name for column in self._columns]
        incoming = select(*staged.c).order_by(*keys)
        return self._compile(postgresql, postgresql.insert(self._target).from_select(names, incoming))

    def _compile(self, dialect: Any, insert: Any) -> str:
        keys = list(self._target.primary_key)
        if self._change is None:
            insert = insert.on_conflict_do_nothing(index_elements=keys)
        else:
            names = {key.name for key in keys}
            changes = {c.name: self._change(c, insert.excluded[c.name]) for c in self._columns if c.name not in names}
            insert = insert.on_conflict_do_update(index_elements=keys, set_=changes, where=self._where)
        return str(insert.compile(dialect=dialect.dialect(), compile_kwargs={"render_postcompile": True}))


def is_one_of(connection: Connection, column: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    """Whether a text column has one of many values, with a single bound parameter."""
    if connection.dialect.name == "sqlite":
        listed = func.json_each(json.dumps(list(values))).table_valued("value")
        return column.in_(select(listed.c.value))
    return column == any_(literal(list(values), postgresql.ARRAY(Text)))
