from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.call import new_id
from backend.ledger import records
from backend.ledger.records import (
    ATTEMPT,
    CLOSE,
    OPEN,
    Layout,
    Payload,
    Record,
    UnreadableRecord,
    decode,
    decode_head,
    encode_close,
    encode_dispatch,
    encode_head,
    encode_label,
    encode_payload,
    opened_id,
)
from db.columns import ATTEMPT_COLUMNS, CALL_COLUMNS
from tests.ledger.samples import attempt_values, call_values, finish, make_attempt, make_entry, make_label

OURS = Layout()


def read(content: bytes, layout: Layout = OURS) -> Record:
    record = decode(content, layout)
    assert isinstance(record, Record)
    return record


def test_an_opening_says_all_that_is_known_and_the_next_only_the_attempt() -> None:
    entry = make_entry("w")
    first, second = make_attempt(entry), make_attempt(entry, 2)
    opening = read(encode_dispatch(entry, first))
    assert opening == Record(OPEN, [*call_values(entry)], [[*attempt_values(first)]])
    entry.dispatched = True
    assert read(encode_dispatch(entry, second)) == Record(ATTEMPT, None, [[*attempt_values(second)]])


def test_a_close_has_every_attempt() -> None:
    entry = make_entry("w")
    for number in (1, 2):
        finish(entry, make_attempt(entry, number))
    close = read(encode_close(entry))
    assert close.kind == CLOSE
    assert close.call == [*call_values(entry)]
    assert [values[1] for values in close.attempts] == [1, 2]


def test_the_id_of_an_opening_is_read_without_decoding() -> None:
    entry = make_entry("w")
    assert opened_id(encode_dispatch(entry, make_attempt(entry)), OURS) == entry.id
    assert opened_id(encode_close(entry), OURS) is None
    assert opened_id(encode_dispatch(entry, make_attempt(entry)), Layout(call=(0,))) is None


texts = st.text(st.characters(codec=None))
numbers = st.one_of(st.integers(), st.floats(allow_nan=False), st.just(10**400))
documents = st.recursive(st.one_of(texts, numbers, st.none(), st.booleans()), lambda inner: st.lists(inner, max_size=3))


@given(texts, st.dictionaries(texts, documents, max_size=3))
def test_whatever_text_or_usage_is_said_can_be_written_and_read(text: str, usage: dict[str, Any]) -> None:
    entry = make_entry("w", user=text, usage=usage)
    call = read(encode_close(entry)).call
    assert call is not None
    assert call[CALL_COLUMNS.index("id")] == entry.id
    if not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert call[CALL_COLUMNS.index("user")] == text


def test_half_a_surrogate_pair_is_spelled_out() -> None:
    call = read(encode_close(make_entry("w", user="a\ud800b"))).call
    assert call is not None
    assert call[CALL_COLUMNS.index("user")] == "a\\ud800b"


def test_a_usage_too_deep_for_json_is_cut_off_at_its_bottom() -> None:
    usage: dict[str, Any] = {}
    for _ in range(2_000):
        usage = {"inner": usage}
    call = read(encode_close(make_entry("w", usage=usage))).call
    assert call is not None
    assert set(call[CALL_COLUMNS.index("usage")]) == {"inner"}


@pytest.mark.parametrize("bodies", [(b"", b""), (b"question", b"answer \xff\x00"), (b"x" * 100, b"y" * 3)])
def test_bodies_travel_as_bytes_and_are_cut(bodies: tuple[bytes, bytes]) -> None:
    entry = make_entry("w", payload=bodies)
    payload = decode(encode_payload(entry, 50), OURS)
    assert payload == Payload(entry.id, bodies[0][:50], bodies[1][:50], entry.started_at)


def test_a_label_says_what_was_judged_and_half_surrogates_are_spelled_out() -> None:
    label = make_label(note="not what was asked")
    assert decode(encode_label(label), OURS) == label
    assert decode(encode_label(make_label(note="a\ud800")), OURS) == make_label(note="a\\ud800")


def test_a_label_of_another_version_is_read_by_its_names() -> None:
    said = orjson.loads(encode_label(make_label())[1:])
    del said["note"]
    assert decode(b"L" + orjson.dumps(said | {"mood": "sunny"}), OURS) == make_label()


def test_an_older_segment_is_read_by_the_names_of_its_columns() -> None:
    theirs = [name for name in reversed(CALL_COLUMNS) if name != "notes"] + ["forgotten"]
    head = orjson.dumps({"format": 1, "calls": theirs, "attempts": list(reversed(ATTEMPT_COLUMNS))})
    entry = make_entry("w")
    said = {**dict(zip(CALL_COLUMNS, call_values(entry), strict=True)), "forgotten": 1}
    tried = dict(zip(ATTEMPT_COLUMNS, attempt_values(make_attempt(entry)), strict=True))
    content = orjson.dumps([0, [said[name] for name in theirs], [[tried[name] for name in reversed(ATTEMPT_COLUMNS)]]])
    record = read(content, decode_head(head))
    assert record.call == [*call_values(entry)]
    assert record.attempts == [list(tried.values())]


def test_our_own_head_needs_no_rearranging() -> None:
    assert decode_head(encode_head("w")) == OURS


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"[1]", b"7", b"P", b"L", b"L[]", b'L{"id":"x"}', b"\xff", b"[0,1,2]"]
)
def test_what_is_no_record_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        decode(content, Layout(call=(0,), attempt=(0,)))


@pytest.mark.parametrize("head", [b"", b"[]", b"{}", b'{"format":2}', b"\xff"])
def test_a_head_of_another_format_is_refused(head: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        decode_head(head)


def test_ids_are_as_long_as_the_shortcut_expects() -> None:
    assert len(new_id()) == 36


def test_values_are_written_in_the_order_of_the_columns() -> None:
    entry, attempt = make_entry("w"), make_attempt(make_entry("w"))
    for name in CALL_COLUMNS:
        setattr(entry, name, name)
    for name in ATTEMPT_COLUMNS:
        setattr(attempt, name, name)
    assert records.call_values(entry) == CALL_COLUMNS
    assert records.attempt_values(attempt) == ATTEMPT_COLUMNS
