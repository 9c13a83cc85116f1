"""The vectors of one partition: compared one by one while they are few, through a graph of neighbours above."""

from __future__ import annotations

import importlib.util
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.cache.semantic.embedding import Vector

Slots = NDArray[np.int64]

MOST_ROWS = 4_000
"""Up to here comparing with every row takes no longer than walking the graph (``benchmarks/semantic_lookup.py``)."""

_CONNECTIVITY = 16
_EXPANSION_ADD = 160
_EXPANSION_SEARCH = 24
"""The fewest that keep recall@1 above 0.99 at 100,000 vectors (``benchmarks/semantic_lookup.py``)."""


class Shelf(Protocol):
    """Vectors of unit length by slot number."""

    def __len__(self) -> int: ...

    def add(self, slots: Slots, vectors: Vector) -> None:
        """Keep vectors under slots that are not in use."""
        ...

    def remove(self, slot: int) -> None:
        """Forget one."""
        ...

    def search(self, vector: Vector, count: int) -> tuple[Slots, Vector]:
        """Slots and cosines of at most ``count`` nearest, nearest first."""
        ...


class Rows:
    """A matrix: exact."""

    def __init__(self, dimension: int) -> None:
        self._matrix = np.empty((4, dimension), np.float32)
        self._slots = np.empty(4, np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def content(self) -> tuple[Slots, Vector]:
        """A copy of slots and vectors."""
        return self._slots[: self._count].copy(), self._matrix[: self._count].copy()

    def add(self, slots: Slots, vectors: Vector) -> None:
        """Append rows; the matrix doubles when it is full."""
        end = self._count + len(slots)
        if end > len(self._slots):
            room = max(end, 2 * len(self._slots))
            self._matrix = _widen(self._matrix, self._count, (room, self._matrix.shape[1]))
            self._slots = _widen(self._slots, self._count, (room,))
        self._matrix[self._count : end] = vectors
        self._slots[self._count : end] = slots
        self._count = end

    def remove(self, slot: int) -> None:
        """The last row takes the place of the removed one."""
        for place in np.flatnonzero(self._slots[: self._count] == slot):
            self._count -= 1
            self._matrix[place] = self._matrix[self._count]
            self._slots[place] = self._slots[self._count]

    def search(self, vector: Vector, count: int) -> tuple[Slots, Vector]:
        """Every row is compared."""
        cosines = self._matrix[: self._count] @ vector
        best = np.argpartition(-cosines, count - 1)[:count] if count < self._count else np.arange(self._count)
        best = best[np.argsort(-cosines[best], kind="stable")]
        return self._slots[best], cosines[best]


class Graph:
    """A navigable graph over int8 vectors (HNSW): approximate, hardly slower for a million than for ten thousand.

    A vector is scaled to its largest component before it is rounded, which moves a cosine by about 0.001; whoever wants
    it exactly computes it from the entry.

    Source: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
    Small World graphs", 2018.
    """

    def __init__(self, dimension: int) -> None:
        from usearch.index import Index  # noqa: PLC0415 - only where a partition is large

        self._index: Any = Index(
            ndim=dimension,
            metric="cos",
            dtype="i8",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
            expansion_search=_EXPANSION_SEARCH,
        )

    def __len__(self) -> int:
        return len(self._index)

    def add(self, slots: Slots, vectors: Vector) -> None:
        """Link vectors into the graph: the slow part, so callers bring a few at a time."""
        self._index.add(slots.astype(np.uint64), _round(vectors), threads=1)

    def remove(self, slot: int) -> None:
        """Mark one as gone; its place in the graph is taken by a later one."""
        self._index.remove(slot)

    def search(self, vector: Vector, count: int) -> tuple[Slots, Vector]:
        """Walk towards the nearest."""
        found = self._index.search(_round(vector), min(count, max(len(self._index), 1)), threads=1)
        return found.keys.astype(np.int64), 1.0 - found.distances


def _round(vectors: Vector) -> NDArray[np.int8]:
    """As int8, each vector scaled to its largest component."""
    largest = np.maximum(np.abs(vectors).max(axis=-1, keepdims=True), 1e-12)
    rounded: NDArray[np.int8] = np.rint(vectors * (127.0 / largest)).astype(np.int8)
    return rounded


def graphs_at_hand() -> bool:
    """Whether the library for graphs is installed; without it every partition is searched row by row."""
    return importlib.util.find_spec("usearch") is not None


def _widen(array: NDArray[Any], used: int, shape: tuple[int, ...]) -> NDArray[Any]:
    wider = np.empty(shape, array.dtype)
    wider[:used] = array[:used]
    return wider
