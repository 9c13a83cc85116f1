"""Embeddings in both encodings, one text or many, texts or tokens."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from tests.contract.place import Place, assert_sound, say
from tests.contract.speakers import Speaker


def embed(speaker: Speaker, texts: Any, **params: Any) -> list[list[float]]:
    asked = {"model": "text-embedding-3-small", "input": texts} | params
    outcome = speaker.ask("create", "embeddings", params=asked)
    assert_sound(outcome)
    assert outcome.value["object"] == "list"
    assert outcome.value["usage"]["total_tokens"] > 0
    return [decode(each["embedding"]) for each in outcome.value["data"]]


def decode(vector: Any) -> list[float]:
    """Numbers as they are, or little-endian floats in base64."""
    if not isinstance(vector, str):
        return list(vector)
    raw = base64.b64decode(vector)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def test_both_encodings_say_the_same(speaker: Speaker) -> None:
    text = say()[0]["content"]
    (floats,) = embed(speaker, text, encoding_format="float")
    (packed,) = embed(speaker, text, encoding_format="base64")
    assert packed == pytest.approx(floats, abs=1e-6)
    assert embed(speaker, text) == [pytest.approx(floats, abs=1e-6)]


def test_many_texts_are_answered_in_their_order(speaker: Speaker) -> None:
    texts = [f"{number} {say()[0]['content']}" for number in range(7)]
    singles = [embed(speaker, text, encoding_format="float")[0] for text in texts]
    assert embed(speaker, texts, encoding_format="float") == singles


def test_tokens_and_sizes_are_understood(speaker: Speaker) -> None:
    (vector,) = embed(speaker, [[1, 2, 3], [4]][0], dimensions=16, encoding_format="float")
    assert len(vector) == 16
    assert len(embed(speaker, [[1, 2, 3], [4, 5]], encoding_format="float")) == 2


def test_an_embedding_is_billed_and_then_cached(speaker: Speaker, place: Place) -> None:
    asked = {"model": "fake/ok", "input": say()[0]["content"], "encoding_format": "float"}
    paid = speaker.ask("create", "embeddings", params=asked)
    hit = speaker.ask("create", "embeddings", params=asked)
    assert hit.value == paid.value
    assert hit.headers["x-governor-cache"] == "HIT"
    assert place.row(paid.call_id)["completion_tokens"] in (0, None)
    assert place.row(paid.call_id)["cost_nusd"] == paid.value["usage"]["prompt_tokens"] * 150


def test_embeddings_cannot_be_streamed(speaker: Speaker) -> None:
    asked = {"model": "fake/ok", "input": "x", "encoding_format": "float"}
    assert speaker.ask("create", "embeddings", params=asked, extra={"stream": True}).failure["param"] == "stream"
