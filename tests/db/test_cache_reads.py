from __future__ import annotations

import os
from typing import Any

from sqlalchemy import insert

from backend.call import Entry
from db.cache_labels import Label, add_labels, row_of, write_review
from db.cache_reads import (
    count_labels_over_time,
    find_partition,
    find_verifier,
    read_bodies,
    read_compared,
    read_label_revision,
    read_verified,
    sum_verified,
)
from db.calls import close_calls
from db.columns import CALL_COLUMNS
from db.engine import Engine, reading, writing
from db.tables import payloads
from db.windows import Window
from tests.ledger.samples import make_label


def make_calls(engine: Engine, *many: dict[str, Any]) -> list[str]:
    made = [
        Entry("w", "chat.completions", started_at=number, state="settled", status="ok", **values)
        for number, values in enumerate(many)
    ]
    with writing(engine) as connection:
        close_calls(connection, [tuple(getattr(entry, name) for name in CALL_COLUMNS) for entry in made])
    return [entry.id for entry in made]


def store(engine: Engine, *labels: Label) -> None:
    with writing(engine) as connection:
        add_labels(connection, [row_of(label, label.at) for label in labels])


def test_compared_calls_are_read_newest_first_within_window_and_filters(engine: Engine) -> None:
    near: dict[str, Any] = {"cache_kind": "miss", "similarity": 0.9, "cost_nusd": 5, "latency_ms": 700.0, "model": "m"}
    make_calls(
        engine,
        {**near, "cache_probability": 0.4},
        {"cache_kind": "miss", "model": "m"},
        {**near, "cache_probability": 0.0},
        {"cache_kind": "semantic", "cache_probability": 0.99, "saved_cache_nusd": 7, "model": "m"},
        {**near, "cache_probability": 0.5, "model": "other"},
    )
    with reading(engine) as connection:
        found = read_compared(connection, Window(0, 9, {"model": ("m",)}), 10)
        newest = read_compared(connection, Window(0, 9), 1)
        first = read_compared(connection, Window(0, 2), 10)
    assert [(row.started_at, row.probability, row.saved_nusd) for row in found] == [
        (3, 0.99, 7),
        (2, 0.0, None),
        (0, 0.4, None),
    ]
    assert [row.started_at for row in newest] == [4]
    assert first == [(0, "miss", 0.9, 0.4, None, 5, None, 700.0)]


def test_a_verified_call_is_one_that_reached_the_threshold_and_went_upstream(engine: Engine) -> None:
    reached: dict[str, Any] = {"cache_probability": 0.98, "similarity_threshold": 0.97, "cost_nusd": 40}
    make_calls(
        engine,
        {"cache_kind": "miss", **reached},
        {"cache_kind": "miss", **reached, "cost_nusd": None},
        {"cache_kind": "semantic", **reached},
        {"cache_kind": "miss", **reached, "similarity_threshold": 0.99},
        {"cache_kind": "miss", **reached, "similarity_threshold": None},
    )
    with reading(engine) as connection:
        assert sum_verified(connection, Window(0, 9)) == (2, 40)


def test_sqlite_answers_from_the_index_alone(sqlite: Engine) -> None:
    statement = (
        "EXPLAIN QUERY PLAN SELECT started_at, cache_kind, similarity, cache_probability, latency_ms FROM calls "
    )
    statement += "WHERE started_at >= 1 AND started_at < 9 AND cache_probability IS NOT NULL"
    with reading(sqlite) as connection:
        plan = " ".join(str(row) for row in connection.exec_driver_sql(statement))
    assert "COVERING INDEX calls_compared" in plan


def test_labels_are_counted_per_bucket_source_and_verdict(engine: Engine) -> None:
    store(
        engine,
        make_label("a", at=1_100),
        make_label("b", at=1_900),
        make_label("c", at=2_000, same=False),
        make_label("d", at=9_000),
    )
    with reading(engine) as connection:
        rows = count_labels_over_time(connection, Window(1_000, 3_000), 1_000)
        assert read_label_revision(connection) == 0
    assert sorted((row["at"], row["source"], row["same"], row["labels"]) for row in rows) == [
        (1_000, "exact", True, 2),
        (2_000, "exact", False, 1),
    ]


def test_verified_calls_come_with_the_machine_verdict_that_counts_and_the_review(engine: Engine) -> None:
    store(engine, make_label("a", at=1), make_label("b", at=2), make_label("b", at=2, source="judge", same=False))
    with writing(engine) as connection:
        write_review(connection, make_label("a", at=3, same=False, actor="ada"), now_ms=3)
    with reading(engine) as connection:
        found = read_verified(connection, limit=9)
        left = read_verified(connection, limit=9, unreviewed=True)
        older = read_verified(connection, limit=9, before=2)
        assert read_label_revision(connection) == 1
    said = [(row["id"], row["machine_source"], row["machine_same"], row["human_same"], row["actor"]) for row in found]
    assert said == [("b", "judge", False, None, None), ("a", "exact", True, False, "ada")]
    assert [row["id"] for row in left] == ["b"]
    assert [row["id"] for row in older] == ["a"]


def test_bodies_partition_and_verifier_are_found_where_known(engine: Engine) -> None:
    store(engine, make_label("a", verifier="old", at=1), make_label("b", source_call_id="x", partition="aa", at=2))
    body = {"call_id": "a", "request": os.urandom(3), "response": None, "captured_at": 1}
    with writing(engine) as connection:
        connection.execute(insert(payloads), [body])
    with reading(engine) as connection:
        assert {key: row["request"] for key, row in read_bodies(connection, ["a", "b"]).items()} == {
            "a": body["request"]
        }
        assert find_partition(connection, "x") == "aa"
        assert find_partition(connection, "y") is None
        assert find_verifier(connection) == "default-1"
