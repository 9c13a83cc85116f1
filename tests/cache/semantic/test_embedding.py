"""An embedder served elsewhere is believed nothing that was not checked."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from backend.cache.semantic.embedding import EmbedderUnavailable, RemoteEmbedder, VectorSource, identify, read_vectors


def answering(*answers: Any) -> VectorSource:
    """A deployment that gives these answers in turn, the last one for ever."""
    left = list(answers)

    async def call(texts: list[str]) -> Any:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return call


async def test_vectors_come_back_with_unit_length_and_the_text_they_belong_to() -> None:
    embedder = RemoteEmbedder("bge", answering([[3.0, 4.0], [0.0, -2.0]]), 2)
    first, second = await embedder.embed(["a", "b"])
    assert first.vector.tolist() == pytest.approx([0.6, 0.8])
    assert second.vector.tolist() == [0.0, -1.0]
    assert first.vector.dtype == np.float32
    assert (first.tokens, first.pieces, first.of) == (None, (), identify("a"))


async def test_the_dimension_is_asked_for_once_and_is_part_of_the_name() -> None:
    embedder = await RemoteEmbedder.probe("bge", answering([[1.0, 0.0, 0.0]]))
    assert (embedder.name, embedder.dimension) == ("bge/3", 3)


async def test_another_dimension_than_the_first_is_refused() -> None:
    embedder = await RemoteEmbedder.probe("bge", answering([[1.0, 0.0]], [[1.0, 0.0, 0.0]]))
    with pytest.raises(EmbedderUnavailable, match="dimension 3 instead of 2"):
        await embedder.embed(["a"])


@pytest.mark.parametrize(
    "answer",
    [
        [[1.0, 0.0]],
        [[1.0, 0.0]] * 3,
        [[1.0, 0.0], [1.0]],
        [[], []],
        [1.0, 2.0],
        [[1.0, float("nan")], [1.0, 0.0]],
        [[1.0, float("inf")], [1.0, 0.0]],
        [[0.0, 0.0], [1.0, 0.0]],
        [["a", "b"], ["c", "d"]],
        None,
        OSError("refused"),
        EmbedderUnavailable("away"),
    ],
)
async def test_what_is_not_one_finite_vector_per_text_is_refused(answer: Any) -> None:
    with pytest.raises(EmbedderUnavailable):
        await RemoteEmbedder("bge", answering(answer), 2).embed(["a", "b"])


async def test_large_numbers_are_scaled_and_not_taken_for_infinite() -> None:
    (found,) = await RemoteEmbedder("bge", answering([[3e30, 4e30]]), 2).embed(["a"])
    assert found.vector.tolist() == pytest.approx([0.6, 0.8])


async def test_a_deployment_that_does_not_answer_is_given_up() -> None:
    async def hang(texts: list[str]) -> Sequence[Sequence[float]]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(EmbedderUnavailable, match="TimeoutError"):
        await RemoteEmbedder("bge", hang, 2, timeout_ms=1).embed(["a"])


async def test_no_texts_ask_nothing() -> None:
    assert await RemoteEmbedder("bge", answering(OSError()), 2).embed([]) == []


def item(index: Any, embedding: Any) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": embedding}


def test_vectors_are_ordered_by_their_index() -> None:
    packed = base64.b64encode(np.array([5.0, 6.0], dtype="<f4").tobytes()).decode()
    answer = {"data": [item(1, [3.0, 4.0]), item(2, packed), item(0, [1.0, 2.0])]}
    assert [vector.tolist() for vector in read_vectors(answer, 3)] == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": [item(0, [1.0])]},
        {"data": [item(0, [1.0]), item(0, [2.0])]},
        {"data": [item(0, [1.0]), item(2, [2.0])]},
        {"data": [item(0, [1.0]), item(1, [2.0]), item(1, [2.0])]},
        {"data": [item(0, [1.0]), item(1, "not base64!")]},
        {"data": [item(0, [1.0]), item(1, "AAA=")]},
        {"data": [item(0, [1.0]), {"embedding": [1.0]}]},
        {"data": [item(0, [1.0]), item([], [1.0])]},
        {"data": None},
        [],
        "data",
    ],
)
def test_an_answer_with_a_missing_doubled_or_broken_item_is_refused(answer: Any) -> None:
    with pytest.raises(EmbedderUnavailable):
        read_vectors(answer, 2)


def test_every_text_can_be_identified() -> None:
    assert len({identify(text) for text in ["", "a", "A", "a ", "\ud800", "ä", "a\u0308"]}) == 7
