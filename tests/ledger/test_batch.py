from __future__ import annotations

from typing import Any

import orjson
import pytest

from backend.ledger.batch import Batch, fold
from backend.ledger.records import Layout, encode_close, encode_dispatch, encode_label, encode_payload
from backend.ledger.segments import DAMAGED, START, TORN, Frame
from db.columns import CALL_COLUMNS
from db.tables import cache_labels
from tests.ledger.samples import call_values, finish, make_attempt, make_entry, make_label


def fold_contents(*contents: bytes, damage: str | None = None) -> Batch:
    frames = [Frame("s", START + 100 * (n + 1), START + 100 * (n + 2), each, damage) for n, each in enumerate(contents)]
    return fold([(frame, Layout()) for frame in frames])


def column(row: tuple[Any, ...], name: str) -> Any:
    return row[CALL_COLUMNS.index(name)]


def test_an_open_call_has_no_outcome_yet() -> None:
    entry = make_entry("w")
    batch = fold_contents(encode_dispatch(entry, make_attempt(entry)))
    assert column(batch.opened[entry.id], "status") is None
    assert column(batch.opened[entry.id], "state") == "open"
    assert batch.tried.keys() == {(entry.id, 1)}


def test_open_and_close_become_one_row() -> None:
    entry = make_entry("w")
    attempt = make_attempt(entry)
    opening = encode_dispatch(entry, attempt)
    finish(entry, attempt)
    batch = fold_contents(opening, encode_close(entry))
    assert batch.opened == {}
    assert column(batch.closed[entry.id], "cost_nusd") == entry.cost_nusd
    assert not batch.tried
    assert batch.settled.keys() == {(entry.id, 1)}


def test_an_attempt_that_its_close_forgot_is_not_lost() -> None:
    entry = make_entry("w")
    opening = encode_dispatch(entry, make_attempt(entry))
    entry.tries.clear()
    batch = fold_contents(opening, encode_close(entry))
    assert batch.tried.keys() == {(entry.id, 1)}


def test_json_columns_become_text_and_text_stays() -> None:
    entry = make_entry("w", tags={"a": "ü"}, usage={"prompt_tokens": 1}, notes=["one"], candidates=None)
    row = fold_contents(encode_close(entry)).closed[entry.id]
    assert column(row, "tags") == '{"a":"ü"}'
    assert column(row, "notes") == '["one"]'
    assert column(row, "candidates") is None


def test_a_close_that_forgot_its_state_is_unknown_never_open() -> None:
    entry = make_entry("w")
    make_attempt(entry)
    batch = fold_contents(encode_close(entry))
    assert column(batch.closed[entry.id], "state") == "unknown"
    assert [row[2] for row in batch.settled.values()] == ["unknown"]


def test_nul_is_spelled_out_in_every_text() -> None:
    entry = make_entry("w", user="a\0b", tags={"x\0": "y"}, usage={"z": "\0"})
    row = fold_contents(encode_close(entry)).closed[entry.id]
    assert column(row, "user") == "a\\u0000b"
    assert orjson.loads(column(row, "usage")) == {"z": "\0"}
    assert not any("\0" in value for value in row if isinstance(value, str))


@pytest.mark.parametrize(
    "name_and_value",
    [
        ("user", 7),
        ("model", ["m"]),
        ("prompt_tokens", "many"),
        ("prompt_tokens", 1.5),
        ("cost_nusd", True),
        ("stream", None),
        ("stream", 1),
        ("started_at", None),
        ("latency_ms", "fast"),
        ("worker", None),
    ],
)
def test_a_value_of_the_wrong_kind_steps_out_alone(name_and_value: tuple[str, Any]) -> None:
    good, bad = make_entry("w"), make_entry("w")
    setattr(bad, *name_and_value)
    batch = fold_contents(encode_close(bad), encode_close(good))
    assert batch.closed.keys() == {good.id}
    ((segment, position, content, error),) = batch.broken
    assert (segment, position, content) == ("s", START + 100, encode_close(bad))
    assert name_and_value[0] in error


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"[9,null,[]]", b"[0,null,[]]", b"[2,[],[]]", b"[1,[],[]]", b"nonsense"]
)
def test_what_is_no_record_steps_out(content: bytes) -> None:
    batch = fold_contents(content, encode_close(make_entry("w")))
    assert [each[2] for each in batch.broken] == [content]
    assert len(batch.closed) == 1


def test_a_row_of_another_length_steps_out() -> None:
    values = orjson.dumps([2, [*call_values(make_entry("w"))][:-1], []])
    too_many = orjson.dumps([2, [*call_values(make_entry("w")), None], []])
    batch = fold_contents(values, too_many)
    assert (len(batch.broken), batch.closed) == (2, {})


def test_damage_steps_out_and_a_torn_tail_only_moves_the_position() -> None:
    assert len(fold_contents(b"??", damage=DAMAGED).broken) == 1
    torn = fold_contents(b"??", damage=TORN)
    assert torn == Batch(positions={"s": START + 200})


def test_the_head_of_a_segment_is_no_record() -> None:
    head = (Frame("s", START, 50, b'{"format":1}'), Layout())
    assert fold([head]) == Batch(positions={"s": 50})


def test_refused_records_are_all_set_aside_with_the_reason() -> None:
    entry = make_entry("w")
    batch = fold([(Frame("s", 500, 600, encode_close(entry)), Layout())], "too long for the column")
    assert batch.closed == {}
    assert batch.broken == [("s", 500, encode_close(entry), "too long for the column")]


def test_bodies_are_collected() -> None:
    entry = make_entry("w", payload=(b"question", b"answer"))
    assert [each.request for each in fold_contents(encode_payload(entry, 99)).payloads] == [b"question"]


def test_labels_of_one_batch_arrive_at_the_same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1, 100))
    monkeypatch.setattr("time.time_ns", lambda: next(clock) * 1_000_000)
    batch = fold_contents(*(encode_label(make_label(f"call-{number}")) for number in range(3)))
    place = [column.name for column in cache_labels.c].index("stored_at")
    assert {row[place] for row in batch.labels.values()} == {batch.stored_at}


def test_labels_are_collected_once_per_call_and_source() -> None:
    first, again, human = make_label("c"), make_label("c", same=False), make_label("c", source="human", note="a\0b")
    batch = fold_contents(encode_label(first), encode_label(again), encode_label(human))
    assert batch.labels.keys() == {("c", "exact"), ("c", "human")}
    assert True in batch.labels["c", "exact"]
    assert "a\\u0000b" in batch.labels["c", "human"]


@pytest.mark.parametrize(
    "values",
    [
        {"same": "yes"},
        {"same": None},
        {"probability": 1.2},
        {"probability": float("nan")},
        {"propensity": -0.1},
        {"similarity": float("inf")},
        {"source": "rumour"},
        {"at": 10**30},
        {"tenant": None},
        {"call_id": ""},
    ],
)
def test_a_label_that_is_no_evidence_steps_out_alone(values: dict[str, Any]) -> None:
    bad = encode_label(make_label(**values))
    batch = fold_contents(bad, encode_label(make_label("good")))
    assert [call_id for call_id, _ in batch.labels] == ["good"]
    assert [each[2] for each in batch.broken] == [bad]
