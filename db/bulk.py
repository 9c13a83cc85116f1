"""Many rows at once with INSERT … ON CONFLICT: executemany on SQLite, COPY and INSERT … SELECT on Postgres."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Column, Connection, Table, Text, any_, bindparam, func, literal, select, table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ColumnElement

Row = tuple[Any, ...]
Change = Callable[[Column[Any], ColumnElement[Any]], ColumnElement[Any]]
"""From a column and its incoming value to what a row that exists already gets."""


class Upsert:
    """One way to write many rows of one table, given as tuples in column order; compiled once.

    ``change`` and ``where`` may hold literal columns, no bound values.
    """

    def __init__(self, target: Table, change: Change | None = None, where: ColumnElement[bool] | None = None) -> None:
        self._target = target
        self._change = change
        self._where = where
        self._columns = list(target.c)
        self._staging = f"incoming_{target.name}"

    def write(self, connection: Connection, rows: Sequence[Row], *, fresh: bool = False) -> None:
        """Insert the rows; those whose key exists are changed as declared, or skipped when nothing is.

        ``fresh`` says that probably no key exists yet: Postgres is faster then. It is right either way.
        """
        if not rows:
            return
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(self._for_sqlite, list(rows))
        elif not fresh or not self._copied_straight(connection, rows):
            self._write_staged(connection, rows)

    def _copied_straight(self, connection: Connection, rows: Sequence[Row]) -> bool:
        """Whether the rows could be copied into the table itself; nothing is left of the try when a key existed."""
        from psycopg.errors import UniqueViolation  # noqa: PLC0415 - the driver takes long to load; SQLite needs none

        try:
            with connection.begin_nested():
                self._copy(connection, self._target.name, rows)
        except UniqueViolation:
            return False
        return True

    def _write_staged(self, connection: Connection, rows: Sequence[Row]) -> None:
        with _raw(connection).cursor() as cursor:
            for statement in self._empty_staging:
                cursor.execute(statement)
        self._copy(connection, self._staging, rows)
        connection.exec_driver_sql(self._from_staging)

    def _copy(self, connection: Connection, name: str, rows: Sequence[Row]) -> None:
        names = ", ".join(_quote(column.name) for column in self._columns)
        command = f"COPY {_quote(name)} ({names}) FROM STDIN"
        with _raw(connection).cursor() as cursor, cursor.copy(command) as copy:
            for row in rows:
                copy.write_row(row)

    @cached_property
    def _empty_staging(self) -> list[str]:
        """Two writes of one transaction must not meet there, so it is emptied before each."""
        staging, target = _quote(self._staging), _quote(self._target.name)
        return [f"CREATE TEMPORARY TABLE IF NOT EXISTS {staging} (LIKE {target})", f"TRUNCATE {staging}"]

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


_quote = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]
"""A name of ours, in quotes where it needs them."""


def _raw(connection: Connection) -> Any:
    """The driver's own connection: COPY has no place in SQLAlchemy."""
    return connection.connection.driver_connection


def is_one_of(connection: Connection, column: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    """Whether a text column has one of many values, with a single bound parameter."""
    if connection.dialect.name == "sqlite":
        listed = func.json_each(json.dumps(list(values))).table_valued("value")
        return column.in_(select(listed.c.value))
    return column == any_(literal(list(values), postgresql.ARRAY(Text)))
