"""What the semantic cache keeps of an answered question, and what every index of such entries can do."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from backend.cache.semantic.embedding import Embedding, Vector

Found = list[tuple["SemanticEntry", float]]
"""Entries with their cosine to the question asked, nearest first."""


@dataclass(slots=True, frozen=True)
class SemanticEntry:
    """A question that was answered: what it meant, and where its answer lies."""

    id: str
    """Id of the call that was answered."""
    partition: bytes
    """Sixteen bytes; questions of different partitions are never compared."""
    tenant: str
    model: str
    question: str
    embedding: Embedding
    key: bytes
    """Key under which the answer lies in the exact store."""
    stored_at: int
    """Milliseconds since 1970, UTC."""
    expires_at: int
    """As ``stored_at``."""


class SemanticIndex(Protocol):
    """Finds the answered questions nearest to a new one, within one partition."""

    timeout_ms: float
    """How long a look-up waits for a server, where there is one."""

    @property
    def mode(self) -> str:
        """Where the entries are and who searches them, in words for people."""
        ...

    @property
    def loaded(self) -> bool:
        """Whether every entry that was there at the start can be found by now."""
        ...

    async def nearest(self, partition: bytes, vector: Vector, count: int) -> Found:
        """At most ``count`` live entries of this partition; raises ``StoreUnavailable``."""
        ...

    def add(self, entry: SemanticEntry) -> None:
        """Keep an entry; returns at once, the writing happens behind the answer."""
        ...

    def remove(self, ids: Collection[str]) -> None:
        """Forget entries by the ids of their calls; returns at once."""
        ...

    async def close(self) -> None:
        """Write what is pending and let go of files, connections and threads."""
        ...


def namespace_of(embedder: str, dimension: int) -> str:
    """Sixteen hexadecimal digits for an embedder: vectors of another embedder, or another dimension, are never met."""
    return blake2b(f"{embedder}\n{dimension}".encode(), digest_size=8).hexdigest()


def rank(entries: Iterable[SemanticEntry], partition: bytes, vector: Vector) -> Found:
    """The live entries of this partition with their cosines, nearest first, whatever a search proposed."""
    now_ms = time.time_ns() // 1_000_000
    asked = [each for each in entries if each.partition == partition and each.expires_at > now_ms]
    found = [(each, float(each.embedding.vector @ vector)) for each in asked]
    return sorted(found, key=lambda pair: -pair[1])


def weigh(entry: SemanticEntry) -> int:
    """About how many bytes an entry takes while it waits to be written."""
    tokens = entry.embedding.tokens
    return entry.embedding.vector.nbytes + (0 if tokens is None else tokens.nbytes) + 2 * len(entry.question) + 512
