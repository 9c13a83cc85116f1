"""What a text means as numbers: the type every part of the semantic cache passes on, and embedders served elsewhere."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
VectorSource = Callable[[list[str]], Awaitable[Sequence[Sequence[float] | NDArray[Any]]]]
"""Texts in, one vector for each out, in their order."""

_LEAST_NORM = 1e-12


@dataclass(slots=True, frozen=True)
class Embedding:
    """One text as a vector of unit length and, where the embedder can say, as a vector per word piece."""

    vector: Vector
    """(dimension,)"""
    tokens: Vector | None
    """Unit rows (n, dimension), at most 64, without the marks of begin and end; None where the embedder cannot say."""
    pieces: tuple[str, ...]
    """The n word pieces that belong to the rows; () where unknown."""
    of: bytes = b""
    """``identify`` of the text the embedder embedded, so that a batch can be checked back to its items."""


class Embedder(Protocol):
    """Turns texts into embeddings of one model."""

    @property
    def name(self) -> str:
        """Namespace of the vectors: changes with model, quantisation, version and dimension."""
        ...

    @property
    def dimension(self) -> int:
        """Components of each vector."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding per text, in order; raises ``EmbedderUnavailable``."""
        ...


class EmbedderUnavailable(Exception):
    """No embedding could be had; its text is short and goes to the call's notes."""


def identify(text: str) -> bytes:
    """Eight bytes that tell one text of a batch from another."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class RemoteEmbedder:
    """An embedder served by a deployment: trusts neither count, dimension nor numbers of what comes back."""

    def __init__(self, name: str, source: VectorSource, dimension: int, *, timeout_ms: float = 2_000.0) -> None:
        self.name = f"{name}/{dimension}"
        self.dimension = dimension
        self._source = source
        self._timeout_ms = timeout_ms

    @classmethod
    async def probe(cls, name: str, source: VectorSource, *, timeout_ms: float = 2_000.0) -> RemoteEmbedder:
        """The embedder with the dimension that one short text comes back in; raises ``EmbedderUnavailable``."""
        rows = await _ask(source, ["dimension"], timeout_ms)
        return cls(name, source, rows.shape[1], timeout_ms=timeout_ms)

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding per text, in order, without tokens; raises ``EmbedderUnavailable``."""
        if not texts:
            return []
        rows = await _ask(self._source, list(texts), self._timeout_ms)
        if rows.shape[1] != self.dimension:
            raise EmbedderUnavailable(f"embedder: dimension {rows.shape[1]} instead of {self.dimension}")
        return [Embedding(row.copy(), None, (), identify(text)) for row, text in zip(rows, texts, strict=True)]


async def _ask(source: VectorSource, texts: list[str], timeout_ms: float) -> Vector:
    """Unit rows, one per text."""
    try:
        async with asyncio.timeout(timeout_ms / 1000.0):
            answered = await source(texts)
        rows = np.asarray(answered, dtype=np.float32)
    except EmbedderUnavailable:
        raise
    except Exception as error:  # whatever a deployment does, the call goes on without the cache
        raise EmbedderUnavailable(f"embedder: {type(error).__name__}") from error
    if rows.ndim != 2 or len(rows) != len(texts) or not rows.shape[1]:
        raise EmbedderUnavailable(f"embedder: not {len(texts)} vectors of one dimension")
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(norms).all() or norms.min() < _LEAST_NORM:
        raise EmbedderUnavailable("embedder: a vector is not finite or has no length")
    units: Vector = (rows / norms).astype(np.float32)
    return units


def read_vectors(answer: Any, count: int) -> list[Vector]:
    """The vectors of an embeddings answer in OpenAI's form (numbers or base64), ordered by their ``index``.

    Raises ``EmbedderUnavailable`` unless every index from 0 to ``count`` - 1 is there exactly once.
    """
    try:
        found = {item["index"]: _read_vector(item["embedding"]) for item in answer["data"]}
        whole = len(answer["data"]) == count and found.keys() == set(range(count))
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise EmbedderUnavailable(f"embedder: answer not understood ({type(error).__name__})") from error
    if not whole:
        raise EmbedderUnavailable(f"embedder: the answer's indices are not 0 to {count - 1}, each once")
    return [found[index] for index in range(count)]


def _read_vector(embedding: Any) -> Vector:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float32)
    return np.asarray(embedding, dtype=np.float32)
