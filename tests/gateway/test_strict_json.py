"""The strict JSON gate: what it takes has one reading, and what has two it refuses."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadRequest, BodyTooLarge
from backend.gateway import strict_json
from backend.gateway.strict_json import parse_object
from tests.cache.answers import TEXT, VALUE
from tests.gateway.json_corpus import BAD_BODIES, PLACES, bad_values, nested, sound_values

DEPTH = 64
SOUND, BAD = list(sound_values()), list(bad_values())


def test_the_corpus_is_large_enough() -> None:
    assert len(SOUND) >= 80
    assert len(BAD) >= 200
    assert len(set(SOUND + BAD)) == len(SOUND) + len(BAD)


@pytest.mark.parametrize("place", PLACES)
def test_every_sound_value_is_taken_as_it_is(place: str) -> None:
    for value in SOUND:
        body = PLACES[place] % value
        assert parse_object(body, DEPTH) == json.loads(body), value


@pytest.mark.parametrize("place", PLACES)
def test_every_bad_value_is_refused(place: str) -> None:
    for value in BAD:
        with pytest.raises(BadRequest) as caught:
            parse_object(PLACES[place] % value, DEPTH)
        assert caught.value.status == 400, value


@pytest.mark.parametrize("body", BAD_BODIES)
def test_every_bad_body_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_object(body, DEPTH)


@pytest.mark.parametrize("depth", [10**2, 10**3, 10**4, 10**5, 10**6])
@pytest.mark.parametrize("kind", ["array", "object", "array open", "object open"])
def test_what_is_nested_too_deep_is_refused_before_it_is_parsed(
    depth: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(strict_json, "_DECODER")
    for place in PLACES.values():
        with pytest.raises((BadRequest, BodyTooLarge)) as caught:
            parse_object(place % nested(depth, kind), DEPTH)
        assert caught.value.status in (400, 413)


@pytest.mark.parametrize("limit", [8, 64, 512])
@pytest.mark.parametrize("kind", ["array", "object"])
def test_the_deepest_nesting_that_is_allowed_is_taken(limit: int, kind: str) -> None:
    inside = PLACES["field"] % nested(limit - 1, kind)
    assert parse_object(inside, limit) == json.loads(inside)
    with pytest.raises(BadRequest, match="deeper"):
        parse_object(PLACES["field"] % nested(limit, kind), limit)


def test_brackets_in_text_are_no_nesting() -> None:
    for text in ("[" * 1000, '\\"' + "{" * 1000, "\\\\" + "[" * 500, '"[' * 3 + "]" * 3):
        body = orjson.dumps({"x": text, "y": [text, {"z": text}]})
        assert parse_object(body, 8) == orjson.loads(body)


def test_a_body_of_nothing_but_containers_is_too_large() -> None:
    with pytest.raises(BodyTooLarge):
        parse_object(b'{"a":[' + b"[]," * 500_000 + b"[]]}", DEPTH)


def test_integers_of_any_sensible_size_are_kept_whole() -> None:
    for value in (2**53 + 1, 2**64, -(2**64), 10**300):
        assert parse_object(b'{"a":%d}' % value, DEPTH) == {"a": value}
    with pytest.raises(BadRequest):
        parse_object(b'{"a":%b}' % (b"9" * 5000), DEPTH)


@given(st.dictionaries(TEXT, VALUE, max_size=4))
def test_whatever_can_be_written_as_json_is_read_back(value: dict[str, Any]) -> None:
    for body in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1), orjson.dumps(value).decode()):
        assert parse_object(body.encode(), DEPTH) == value


@given(st.sampled_from([PLACES["field"] % value for value in SOUND]), st.data())
def test_no_damaged_text_is_taken_that_another_strict_parser_refuses(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, min(len(body), 200)))
    cut = data.draw(st.integers(0, 3))
    damaged = (
        body[:at] + data.draw(st.binary(max_size=3) | st.sampled_from([b"[", b'"', b",", b"\\"])) + body[at + cut :]
    )
    try:
        taken = parse_object(damaged, DEPTH)
    except BadRequest:
        return
    assert taken == json.loads(damaged)
    assert orjson.loads(damaged).keys() == taken.keys()
