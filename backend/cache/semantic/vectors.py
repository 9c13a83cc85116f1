"""Vectors of many partitions in memory: bounded in number, searched by one thread while another adds.

A vector lies in a slot: a row of a few arrays that say under which label it is known, where it belongs and until
when it may be found. A partition's shelf holds its slots and vectors; no search ever looks at two shelves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.cache.semantic.embedding import Vector
from backend.cache.semantic.shelves import MOST_ROWS, Graph, Rows, Shelf, Slots, graphs_at_hand

_STEP = 8
"""Vectors added under one lock: a search waits for a few milliseconds at most."""
_BREATHER_S = 0.0001
"""Pause between steps: a search that waits for the lock gets it."""
_SPARE = 0.01
"""Share of the bound that is freed beyond what must be, so that not every addition has to look for the oldest."""


@dataclass(slots=True, frozen=True)
class Batch:
    """Vectors to keep: columns of equal length, oldest first."""

    labels: NDArray[np.int64]
    partitions: list[bytes]
    expires_at: NDArray[np.int64]
    """Milliseconds since 1970, UTC."""
    vectors: Vector


class Vectors:
    """At most ``most`` vectors; the oldest go first. Labels are any 64-bit numbers, each in use once."""

    def __init__(self, dimension: int, most: int) -> None:
        self._dimension = dimension
        self._most = most
        self._shelves: dict[bytes, Shelf] = {}
        self._slots: dict[int, int] = {}
        self._free: list[int] = []
        self._used = 0
        self._added = 0
        self._labels = np.empty(64, np.int64)
        self._expires_at = np.empty(64, np.int64)
        self._order = np.empty(64, np.int64)
        self._partitions: list[bytes] = []
        self._searching = threading.Lock()
        self._changing = threading.Lock()
        self._graphs = graphs_at_hand()

    def __len__(self) -> int:
        return len(self._slots)

    def search(self, partition: bytes, vector: Vector, count: int) -> list[tuple[int, float]]:
        """Labels and cosines of at most ``count`` live vectors of this partition, nearest first."""
        now_ms = time.time_ns() // 1_000_000
        with self._searching:
            shelf = self._shelves.get(partition)
            wanted = count
            while shelf is not None:
                slots, cosines = shelf.search(vector, wanted)
                live = np.flatnonzero(self._expires_at[slots] > now_ms)[:count]
                if len(live) == count or wanted >= len(shelf):
                    return list(zip(self._labels[slots[live]].tolist(), cosines[live].tolist(), strict=True))
                wanted *= 8
        return []

    def add(self, batch: Batch) -> None:
        """Keep vectors, in the place of those with the same labels; takes its time, for a thread of its own."""
        with self._changing:
            self._remove(batch.labels.tolist())
            for start in range(0, len(batch.labels), _STEP):
                with self._searching:
                    self._place(batch, range(start, min(start + _STEP, len(batch.labels))))
                time.sleep(_BREATHER_S)
            if self._graphs:
                for partition in set(batch.partitions):
                    self._grow(partition)
            surplus = len(self._slots) - self._most
            if surplus > 0:
                self._remove(self._oldest(surplus + int(self._most * _SPARE)))

    def remove(self, labels: Iterable[int]) -> None:
        """Forget vectors; labels that are not in use are ignored."""
        with self._changing:
            self._remove(labels)

    def hide(self, labels: Iterable[int]) -> None:
        """Let no search find these any more, at once; ``expire`` frees their memory."""
        with self._searching:
            hidden = [self._slots[label] for label in labels if label in self._slots]
            self._expires_at[hidden] = 0

    def expire(self) -> None:
        """Forget the vectors whose time is over."""
        now_ms = time.time_ns() // 1_000_000
        with self._changing:
            over = np.flatnonzero(self._expires_at[: self._used] <= now_ms)
            labels = self._labels[over].tolist()
            self._remove(label for label, slot in zip(labels, over, strict=True) if self._slots.get(label) == slot)

    def clear(self) -> None:
        """Forget everything."""
        self.remove(list(self._slots))

    def _remove(self, labels: Iterable[int]) -> None:
        for label in list(labels):
            with self._searching:
                slot = self._slots.pop(label, None)
                if slot is None:
                    continue
                partition = self._partitions[slot]
                shelf = self._shelves[partition]
                shelf.remove(slot)
                self._expires_at[slot] = 0
                self._free.append(slot)
                if not len(shelf):
                    del self._shelves[partition]

    def _place(self, batch: Batch, rows: range) -> None:
        for row in rows:
            slot = self._take_slot()
            label, partition = int(batch.labels[row]), batch.partitions[row]
            self._slots[label] = slot
            self._labels[slot], self._expires_at[slot] = label, batch.expires_at[row]
            self._order[slot], self._partitions[slot] = self._added, partition
            self._added += 1
            shelf = self._shelves.get(partition)
            if shelf is None:
                shelf = self._shelves[partition] = Rows(self._dimension)
            shelf.add(np.array([slot]), batch.vectors[row : row + 1])

    def _take_slot(self) -> int:
        if self._free:
            return self._free.pop()
        if self._used == len(self._labels):
            self._labels, self._expires_at, self._order = (
                np.concatenate([each, np.empty_like(each)]) for each in (self._labels, self._expires_at, self._order)
            )
        self._partitions.append(b"")
        self._used += 1
        return self._used - 1

    def _grow(self, partition: bytes) -> None:
        """Replace the rows of a partition by a graph once they are many; searches use the rows until it stands."""
        rows = self._shelves.get(partition)
        if not isinstance(rows, Rows) or len(rows) <= MOST_ROWS:
            return
        graph = Graph(self._dimension)
        slots, vectors = rows.content
        for start in range(0, len(slots), _STEP):
            graph.add(slots[start : start + _STEP], vectors[start : start + _STEP])
            time.sleep(_BREATHER_S)
        with self._searching:
            self._shelves[partition] = graph

    def _oldest(self, count: int) -> list[int]:
        slots: Slots = np.fromiter(self._slots.values(), np.int64, len(self._slots))
        oldest = slots[np.argpartition(self._order[slots], count - 1)[:count]] if count < len(slots) else slots
        found: list[int] = self._labels[oldest].tolist()
        return found
