"""Vectors in memory: the nearest of one partition only, bounded, expired, exact while few and a graph above."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from backend.cache.semantic import vectors
from backend.cache.semantic.embedding import Vector
from backend.cache.semantic.shelves import Graph, Rows
from backend.cache.semantic.vectors import Batch, Vectors
from tests.cache.semantic.entries import PARTITION, scatter

HOUR_MS = 3_600_000


def batch(labels: Iterable[int], partitions: Sequence[bytes] | bytes = PARTITION, lives_ms: int = HOUR_MS) -> Batch:
    """Each label with the vector of its number."""
    numbers = list(labels)
    places = [partitions] * len(numbers) if isinstance(partitions, bytes) else list(partitions)
    expires_at = np.full(len(numbers), time.time_ns() // 1_000_000 + lives_ms)
    return Batch(np.array(numbers, np.int64), places, expires_at, np.stack([scatter(number) for number in numbers]))


def labels(index: Vectors, number: int, count: int = 1, partition: bytes = PARTITION) -> list[int]:
    return [label for label, _ in index.search(partition, scatter(number), count)]


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs begin at fifty vectors."""
    pytest.importorskip("usearch", reason="no graph library on this platform")
    monkeypatch.setattr(vectors, "MOST_ROWS", 50)


def test_the_nearest_come_first_with_their_cosines() -> None:
    index = Vectors(16, 1000)
    index.add(batch(range(300)))
    found = index.search(PARTITION, scatter(7), 5)
    exact = sorted(((float(scatter(number) @ scatter(7)), number) for number in range(300)), reverse=True)[:5]
    assert [label for label, _ in found] == [number for _, number in exact]
    assert [cosine for _, cosine in found] == pytest.approx([cosine for cosine, _ in exact], abs=1e-5)
    assert index.search(b"q" * 16, scatter(7), 5) == []


@pytest.mark.usefixtures("early")
def test_many_vectors_of_a_partition_are_searched_through_a_graph() -> None:
    index = Vectors(16, 10_000)
    for start in range(0, 1000, 100):
        index.add(batch(range(start, start + 100)))
    index.add(batch([5000], b"q" * 16))
    assert isinstance(index._shelves[PARTITION], Graph)
    assert isinstance(index._shelves[b"q" * 16], Rows)
    assert sum(labels(index, number) == [number] for number in range(1000)) >= 990
    index.remove(range(500))
    assert len(index) == 501
    assert not any(number in labels(index, number, 5) for number in range(500))
    assert sum(labels(index, number) == [number] for number in range(500, 1000)) >= 495
    index.add(batch(range(500)))
    assert sum(labels(index, number) == [number] for number in range(1000)) >= 990


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("many", [10, 200])
def test_vectors_whose_time_is_over_are_not_found_however_many_lie_nearer(many: int) -> None:
    index = Vectors(16, 1000)
    index.add(batch(range(many), lives_ms=0))
    lasting = batch(range(many, many + 3))
    index.add(lasting)
    assert sorted(labels(index, 1, 5)) == [many, many + 1, many + 2]
    assert len(index) == many + 3
    index.expire()
    assert len(index) == 3
    assert sorted(labels(index, 1, 5)) == [many, many + 1, many + 2]


def test_hidden_vectors_are_not_found_and_leave_with_the_next_tidying() -> None:
    index = Vectors(16, 100)
    index.add(batch(range(10)))
    index.hide([3, 77])
    assert labels(index, 3) != [3]
    assert len(index) == 10
    index.expire()
    assert len(index) == 9


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("most", [40, 300])
def test_the_oldest_go_when_there_are_too_many(most: int) -> None:
    index = Vectors(16, most)
    for number in range(0, 1000, 7):
        index.add(batch(range(number, number + 7)))
    assert 0.9 * most <= len(index) <= most
    kept = [number for number in range(1001) if labels(index, number) == [number]]
    assert min(kept) >= 1001 - most
    assert len(kept) >= 0.97 * len(index)
    assert len(index._labels) <= 2 * most + 128


def test_a_label_added_again_is_replaced() -> None:
    index = Vectors(16, 100)
    index.add(batch([1, 2]))
    index.add(Batch(np.array([1]), [b"q" * 16], np.array([2**62]), scatter(9)[None]))
    assert len(index) == 2
    assert labels(index, 1, 5) == [2]
    assert labels(index, 9, 5, b"q" * 16) == [1]
    index.clear()
    assert (len(index), index._shelves) == (0, {})


def test_without_the_graph_library_every_row_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "MOST_ROWS", 50)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    index = Vectors(16, 1000)
    index.add(batch(range(200)))
    assert isinstance(index._shelves[PARTITION], Rows)
    assert labels(index, 150) == [150]


def near(vector: Vector, seed: int) -> Vector:
    moved = vector + 0.01 * scatter(seed)
    close: Vector = (moved / np.linalg.norm(moved)).astype(np.float32)
    return close


PLACES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=1, max_size=120)
"""Partitions and vectors; many vectors are the same in several partitions."""


@how(max_examples=60)
@given(PLACES, st.integers(2, 40), st.randoms(use_true_random=False))
def test_no_search_ever_returns_a_vector_of_another_partition(
    places: list[tuple[int, int]], most_rows: int, random: object
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "MOST_ROWS", most_rows)
        index, owner = Vectors(16, 90), {}
        for label, (partition, number) in enumerate(places):
            owner[label] = partition
            found = Batch(
                np.array([label]), [bytes([partition] * 16)], np.array([2**62]), near(scatter(number), label)[None]
            )
            index.add(found)
            if label % 5 == 4:
                gone = random.randrange(label)  # type: ignore[attr-defined]
                index.remove([gone])
                owner.pop(gone, None)
        for partition in range(6):
            for number in range(0, 31, 5):
                found_labels = labels(index, number, 7, bytes([partition] * 16))
                assert all(owner.get(label) == partition for label in found_labels)


@pytest.mark.usefixtures("early")
def test_one_thread_searches_while_another_adds_removes_and_expires() -> None:
    index, stopping, searched = Vectors(16, 400), threading.Event(), []

    def search() -> None:
        while not stopping.is_set():
            searched.append(labels(index, 3, 5, b"a" * 16))

    thread = threading.Thread(target=search)
    thread.start()
    for start in range(0, 3000, 60):
        index.add(batch(range(start, start + 60), [b"a" * 16, b"b" * 16] * 30))
        index.remove(range(start, start + 20))
        index.expire()
    stopping.set()
    thread.join()
    assert searched
    assert all(label % 2 == 0 for found in searched for label in found)
