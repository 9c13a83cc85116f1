"""Entries as bytes: read back as they were written, or not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cache.semantic import packing
from backend.cache.semantic.packing import pack_entry, pack_vector, unpack_entry, unpack_vectors
from tests.cache.semantic.entries import entry, scatter, unit


def test_what_was_packed_is_read_back() -> None:
    written = entry(7)
    read = unpack_entry(pack_entry(written))
    assert read is not None
    assert replace(read, embedding=written.embedding) == written
    assert read.embedding.pieces == ("question", "7", "?")
    assert read.embedding.of == written.embedding.of
    assert read.embedding.vector.dtype == np.float32
    assert float(read.embedding.vector @ written.embedding.vector) > 0.99999


def test_tokens_keep_their_direction_and_their_unit_length() -> None:
    tokens = np.stack([scatter(number, 384) for number in range(64)])
    written = entry(1, unit(1, dimension=384))
    written = replace(written, embedding=replace(written.embedding, tokens=tokens, pieces=("x",) * 64))
    read = unpack_entry(pack_entry(written))
    assert read is not None
    assert read.embedding.tokens is not None
    assert np.abs(np.linalg.norm(read.embedding.tokens, axis=1) - 1).max() < 1e-5
    assert np.einsum("ij,ij->i", read.embedding.tokens, tokens).min() > 0.9995
    assert len(pack_entry(written)) < 64 * 388 + 1500


@pytest.mark.parametrize("rows", [None, 0])
def test_an_embedder_without_tokens_is_served_too(rows: int | None) -> None:
    tokens = None if rows is None else np.zeros((rows, 16), np.float32)
    written = entry(1)
    read = unpack_entry(pack_entry(replace(written, embedding=replace(written.embedding, tokens=tokens, pieces=()))))
    assert read is not None
    assert (read.embedding.tokens is None) == (rows is None)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_byte_may_change(place: int, change: int) -> None:
    packed = bytearray(pack_entry(entry(1)))
    packed[place % len(packed)] ^= change
    assert unpack_entry(bytes(packed)) is None


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_no_entry(noise: bytes) -> None:
    assert unpack_entry(noise) is None
    assert unpack_entry(b"GSE1" + packing._checksum(noise) + noise) is None
    packed = pack_entry(entry(1))
    assert unpack_entry(packed[: len(noise)]) is None
    assert unpack_entry(packed + noise) is None or not noise


TEXTS = ["call-1", "70" * 16, "t", "m", "question?", "01" * 16, 1, 2, ["a", "b", "c"]]


def bend(place: int, value: object) -> bytes:
    """An entry with a right checksum and a text of another kind."""
    texts: list[object] = [*TEXTS]
    texts[place] = value
    text = orjson.dumps(texts)
    tokens = packing._pack_tokens(np.stack([scatter(number) for number in range(3)]))
    content = packing._SIZES.pack(16, 3, len(text)) + text + pack_vector(scatter(1)) + tokens
    return b"GSE1" + packing._checksum(content) + content


@pytest.mark.parametrize("place", range(len(TEXTS)))
@pytest.mark.parametrize("value", [None, 1.5, {"a": 1}, "zz", [1], True])
def test_texts_of_another_kind_are_no_entry(place: int, value: object) -> None:
    assert unpack_entry(bend(0, "call-1")) is not None
    harmless = value == "zz" and place in {0, 2, 3, 4}
    assert (unpack_entry(bend(place, value)) is not None) is harmless


def test_vectors_that_are_not_finite_or_of_unit_length_are_not_sound() -> None:
    raws = [pack_vector(unit(1)), b"", b"x", pack_vector(unit(1) * 2), pack_vector(unit(1) * np.nan), "text", None]
    rows, sound = unpack_vectors([*raws, pack_vector(unit(0, 1))], 16)
    assert sound.tolist() == [True, *[False] * 6, True]
    assert rows[0].tolist() == unit(1).tolist()


def test_text_that_is_no_unicode_cannot_be_packed() -> None:
    with pytest.raises(TypeError):
        pack_entry(replace(entry(1), question="\ud800"))
