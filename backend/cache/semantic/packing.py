"""Entries as bytes with a checksum; what does not read back exactly as it was written is no entry (FAILURES F09).

Vectors are kept as float16. Token vectors are kept as int8: a row is scaled to its largest component, and as rows have
unit length, the factor that leads back is the inverse of the rounded row's length.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import blake2b
from itertools import compress
from math import sqrt
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from backend.cache.semantic.embedding import Embedding, Vector, identify
from backend.cache.semantic.index import SemanticEntry

_MARK = b"GSE1"
_CHECK = 8
_SIZES = struct.Struct("<HHI")
"""Dimension, token rows, bytes of text."""
_START = len(_MARK) + _CHECK
_NO_TOKENS = 0xFFFF
_MOST_TOKENS = 512
_NORM_SLACK = 0.01


def pack_entry(entry: SemanticEntry) -> bytes:
    """Mark, checksum, sizes, texts as JSON, vector, token factors, token rows. Raises ``TypeError`` on broken text."""
    e = entry.embedding
    texts = [entry.id, entry.partition.hex(), entry.tenant, entry.model, entry.question, entry.key.hex()]
    text = orjson.dumps([*texts, entry.stored_at, entry.expires_at, e.pieces])
    rows = _NO_TOKENS if e.tokens is None else len(e.tokens)
    tokens = b"" if e.tokens is None else _pack_tokens(e.tokens)
    content = _SIZES.pack(len(e.vector), rows, len(text)) + text + pack_vector(e.vector) + tokens
    return _MARK + _checksum(content) + content


def unpack_entry(raw: Any) -> SemanticEntry | None:
    """The entry, or None when anything about it is not as ``pack_entry`` writes it."""
    if type(raw) is not bytes:
        return None
    content = memoryview(raw)[_START:]
    if len(content) < _SIZES.size or raw[: len(_MARK)] != _MARK or raw[len(_MARK) : _START] != _checksum(content):
        return None
    dimension, rows, text_bytes = _SIZES.unpack_from(content)
    at = _SIZES.size + text_bytes
    end = at + 2 * dimension
    vector = _unpack_vector(content[at:end], dimension)
    tokens = None if rows == _NO_TOKENS else _unpack_tokens(content[end:], rows, dimension)
    whole = len(content) == end + (0 if rows == _NO_TOKENS else rows * (4 + dimension))
    if not whole or vector is None or (tokens is None and rows != _NO_TOKENS):
        return None
    return _assemble(content[_SIZES.size : at], vector, tokens)


def pack_vector(vector: Vector) -> bytes:
    """Two bytes a component."""
    packed: bytes = vector.astype("<f2").tobytes()
    return packed


def unpack_vectors(raws: Sequence[Any], dimension: int, kind: str = "<f2") -> tuple[Vector, NDArray[np.bool_]]:
    """Unit rows (n, dimension) as float32, and which of them are sound: of the right size, finite, of unit length."""
    size = dimension * np.dtype(kind).itemsize
    fits = [type(raw) is bytes and len(raw) == size for raw in raws]
    rows = np.zeros((len(raws), dimension), np.float32)
    with np.errstate(all="ignore"):
        rows[fits] = np.frombuffer(b"".join(compress(raws, fits)), kind).reshape(-1, dimension)
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        sound = np.abs(norms - 1.0) < _NORM_SLACK  # not a number compares as false
        rows[sound] /= norms[sound, None]
    return rows, sound


def _unpack_vector(raw: memoryview, dimension: int) -> Vector | None:
    """One unit vector as float32, if it is sound."""
    if not dimension or len(raw) != 2 * dimension:
        return None
    vector: Vector = np.frombuffer(raw, "<f2").astype(np.float32)
    norm = sqrt(float(vector @ vector))
    return vector / np.float32(norm) if abs(norm - 1.0) < _NORM_SLACK else None


def _pack_tokens(tokens: Vector) -> bytes:
    largest = np.maximum(np.abs(tokens).max(axis=1, keepdims=True, initial=0.0), 1e-12)
    rounded = np.rint(tokens * (127.0 / largest))
    factors = 1.0 / np.maximum(np.sqrt((rounded * rounded).sum(axis=1)), 1.0)
    packed: bytes = factors.astype("<f4").tobytes() + rounded.astype(np.int8).tobytes()
    return packed


def _unpack_tokens(raw: memoryview, rows: int, dimension: int) -> Vector | None:
    if rows > _MOST_TOKENS or len(raw) != rows * (4 + dimension):
        return None
    factors: NDArray[Any] = np.frombuffer(raw, "<f4", rows)
    if not ((factors > 0) & (factors <= 1)).all():
        return None
    rounded: NDArray[Any] = np.frombuffer(raw, np.int8, offset=4 * rows).reshape(rows, dimension)
    tokens: Vector = np.multiply(rounded, factors[:, None], dtype=np.float32)
    return tokens


def _assemble(text: memoryview, vector: Vector, tokens: Vector | None) -> SemanticEntry | None:
    try:
        name, partition, tenant, model, question, key, *times, pieces = orjson.loads(text)
        texts_sound = all(type(each) is str for each in (name, tenant, model, question, *pieces))
        partition_key, exact_key = bytes.fromhex(partition), bytes.fromhex(key)
    except (ValueError, TypeError):
        return None
    if not texts_sound or [type(time) for time in times] != [int, int] or len(partition_key) != 16:
        return None
    if tokens is not None and len(pieces) not in {0, len(tokens)}:
        return None
    embedding = Embedding(vector, tokens, tuple(pieces), identify(question))
    return SemanticEntry(name, partition_key, tenant, model, question, embedding, exact_key, *times)


def _checksum(content: bytes | memoryview) -> bytes:
    return blake2b(content, digest_size=_CHECK).digest()
