from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backend.call import Entry
from db.cache_labels import (
    Label,
    add_labels,
    count_labels,
    faults_of,
    read_hits,
    read_labels,
    read_labels_of,
    row_of,
    write_review,
)
from db.calls import close_calls
from db.columns import CALL_COLUMNS
from db.engine import Engine, reading, writing
from db.revisions import read_marks
from tests.ledger.samples import make_label


def store(engine: Engine, *labels: Label, stored_at: int = 100) -> None:
    with writing(engine) as connection:
        add_labels(connection, [row_of(label, stored_at) for label in labels])


def make_calls(engine: Engine, count: int, **values: Any) -> list[Entry]:
    said: dict[str, Any] = {
        "state": "settled",
        "tenant": "t",
        "cache_kind": "semantic",
        "cache_probability": 0.93,
    } | values
    made = [Entry("w", "chat.completions", started_at=1_000 + number, **(said | values)) for number in range(count)]
    with writing(engine) as connection:
        close_calls(connection, [tuple(getattr(entry, name) for name in CALL_COLUMNS) for entry in made])
    return made


def test_a_label_is_read_as_it_was_written_and_stays_as_it_was(engine: Engine) -> None:
    label = make_label()
    store(engine, label)
    store(engine, replace(label, same=False), stored_at=200)
    with reading(engine) as connection:
        assert read_labels(connection) == [replace(label, stored_at=100)]
        assert read_labels_of(connection, label.id) == [replace(label, stored_at=100)]


def test_the_newest_are_read_oldest_first_and_from_a_time_on(engine: Engine) -> None:
    for number in range(6):
        store(engine, make_label(f"call-{number}"), stored_at=number)
    with reading(engine) as connection:
        assert [label.id for label in read_labels(connection, limit=3)] == ["call-3", "call-4", "call-5"]
        assert [label.stored_at for label in read_labels(connection, stored_since=4)] == [4, 5]


def test_a_review_stands_above_the_machine_and_may_be_changed(engine: Engine) -> None:
    store(engine, make_label("c"), make_label("d"), make_label("e", same=False, partition="aa" * 16))
    for same, now_ms in ((True, 300), (False, 400)):
        with writing(engine) as connection:
            write_review(connection, make_label("c", same=same, actor="ada", note="other city"), now_ms=now_ms)
    with reading(engine) as connection:
        first, second = read_labels_of(connection, "c")
        counted = [(row["labels"], row["false_hits"]) for row in count_labels(connection)]
    assert (first.source, first.same, first.stored_at, second.source) == ("human", False, 400, "exact")
    assert counted == [(2, 1), (1, 1)]
    assert read_marks(engine)["cache_labels"] == 2


def test_a_judge_stands_above_a_comparison(engine: Engine) -> None:
    store(engine, make_label("c", source="embedding"), make_label("c", source="judge", same=False))
    with reading(engine) as connection:
        assert [label.source for label in read_labels_of(connection, "c")] == ["judge", "embedding"]
        assert [(row["labels"], row["false_hits"]) for row in count_labels(connection)] == [(1, 1)]


def test_recent_semantic_hits_come_with_their_verdicts(engine: Engine) -> None:
    made = make_calls(engine, 4)
    make_calls(engine, 2, cache_kind="miss")
    store(
        engine,
        make_label(made[3].id),
        make_label(made[3].id, source="judge", same=False),
        make_label(made[1].id, source="human", same=False, actor="ada"),
    )
    with reading(engine) as connection:
        found = read_hits(connection, limit=3)
        left = read_hits(connection, limit=9, before=1_003, unreviewed=True)
    assert [row["id"] for row in found] == [made[3].id, made[2].id, made[1].id]
    assert [(row["machine_same"], row["human_same"]) for row in found] == [(False, None), (None, None), (None, False)]
    assert (found[0]["cache_probability"], found[2]["actor"]) == (0.93, "ada")
    assert [row["id"] for row in left] == [made[2].id, made[0].id]


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({}, []),
        ({"propensity": 0.0}, []),
        ({"probability": 1.01}, ["probability"]),
        ({"propensity": float("nan")}, ["propensity"]),
        ({"source": "rumour", "call_id": ""}, ["source", "id"]),
    ],
)
def test_what_is_no_evidence_is_named(values: dict[str, Any], wrong: list[str]) -> None:
    assert faults_of(make_label(**values)) == wrong
