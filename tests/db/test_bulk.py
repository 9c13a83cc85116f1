from __future__ import annotations

import pytest
from sqlalchemy import Column, literal_column, select
from sqlalchemy.sql import ColumnElement

from db.bulk import Row, Upsert, is_one_of
from db.engine import Engine, reading, writing
from db.failures import DatabaseAway, RowsRefused, judged_writing
from db.tables import quarantine, spool_positions

KEEP = Upsert(spool_positions)
REPLACE = Upsert(spool_positions, lambda _, incoming: incoming)


def add(column: Column[int], incoming: ColumnElement[int]) -> ColumnElement[int]:
    return spool_positions.c[column.name] + incoming


ADD = Upsert(spool_positions, add)
ADD_SMALL = Upsert(spool_positions, add, spool_positions.c.position < literal_column("10"))


def write(engine: Engine, upsert: Upsert, *rows: Row, fresh: bool = False) -> list[Row]:
    with judged_writing(engine) as connection:
        upsert.write(connection, rows, fresh=fresh)
    with reading(engine) as connection:
        query = select(spool_positions).order_by(spool_positions.c.segment)
        return [tuple(row) for row in connection.execute(query)]


@pytest.mark.parametrize("fresh", [False, True])
def test_new_rows_are_inserted(engine: Engine, fresh: bool) -> None:
    rows = [(f"s{n:05}", n, 0) for n in range(5_000)]
    assert write(engine, KEEP, *rows, fresh=fresh) == rows


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(("upsert", "after"), [(KEEP, 1), (REPLACE, 20), (ADD, 21)])
def test_rows_that_exist_are_kept_replaced_or_added_to(engine: Engine, upsert: Upsert, after: int, fresh: bool) -> None:
    write(engine, KEEP, ("a", 1, 1))
    assert write(engine, upsert, ("a", 20, 20), ("b", 2, 2), fresh=fresh) == [("a", after, after), ("b", 2, 2)]


def test_a_condition_protects_rows(engine: Engine) -> None:
    write(engine, KEEP, ("large", 10, 0), ("small", 9, 0))
    assert write(engine, ADD_SMALL, ("large", 5, 0), ("small", 5, 0)) == [("large", 10, 0), ("small", 14, 0)]


def test_nothing_is_asked_of_the_database_for_no_rows(engine: Engine) -> None:
    assert write(engine, KEEP) == []


def test_several_writes_of_one_transaction_do_not_mix(engine: Engine) -> None:
    with writing(engine) as connection:
        REPLACE.write(connection, [("a", 1, 1)])
        REPLACE.write(connection, [("b", 2, 2)])
        ADD.write(connection, [("a", 1, 1)])
    assert write(engine, KEEP) == [("a", 2, 2), ("b", 2, 2)]


def test_special_characters_survive_the_copy(engine: Engine) -> None:
    texts = ["tab\there", "new\nline", "back\\slash", "\\N", "\\.", "ü☃", "quote'\"", "\r", ""]
    rows = [(text, number, number) for number, text in enumerate(sorted(texts))]
    assert {row[0] for row in write(engine, KEEP, *rows)} == set(texts)


def test_bytes_survive_the_copy(engine: Engine) -> None:
    record = bytes(range(256))
    with writing(engine) as connection:
        Upsert(quarantine).write(connection, [("s", 1, record, "why", 0)])
    with reading(engine) as connection:
        assert bytes(connection.execute(select(quarantine.c.record)).scalar_one()) == record


@pytest.mark.parametrize("row", [("a", 2**70, 0), (None, 1, 0)])
def test_a_row_no_table_takes_is_refused_without_naming_its_values(engine: Engine, row: Row) -> None:
    with pytest.raises(RowsRefused):
        write(engine, KEEP, ("secret-name", 1, 1), row)
    assert write(engine, KEEP) == []


def test_a_key_too_long_for_an_index_is_refused_not_taken_for_an_outage(engine: Engine) -> None:
    letters = "".join(chr(0x4E00 + n) for n in range(6_000))
    if engine.dialect.name == "sqlite":
        assert write(engine, KEEP, (letters, 1, 1)) == [(letters, 1, 1)]
        return
    with pytest.raises(RowsRefused) as refusal:
        write(engine, KEEP, (letters, 1, 1))
    assert letters[:50] not in str(refusal.value)


def test_a_missing_table_is_an_outage_not_a_refusal(engine: Engine) -> None:
    spool_positions.drop(engine)
    with pytest.raises(DatabaseAway):
        write(engine, KEEP, ("a", 1, 1))
    spool_positions.create(engine)


@pytest.mark.parametrize("count", [0, 1, 40_000])
def test_many_values_are_one_parameter(engine: Engine, count: int) -> None:
    write(engine, KEEP, ("s0", 1, 1), ("other", 1, 1))
    with reading(engine) as connection:
        mine = is_one_of(connection, spool_positions.c.segment, [f"s{n}" for n in range(count)])
        found = list(connection.scalars(select(spool_positions.c.segment).where(mine)))
    assert found == (["s0"] if count else [])
