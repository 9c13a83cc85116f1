"""A pair's features as a label keeps them: short text, and of no use to who measures otherwise."""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from backend.cache.semantic.verifier import FEATURES

Numbers = NDArray[np.float64]
_KIND = "<f4"


def space_of(embedder: str) -> str:
    """Eight hexadecimal digits for what features mean: those of another embedder or measure are never met."""
    return blake2b("\n".join((embedder, *FEATURES)).encode(), digest_size=4).hexdigest()


def write_features(space: str, features: Numbers) -> str:
    """Their space and the numbers at four bytes each, in base 64."""
    return f"{space}:{base64.b64encode(features.astype(_KIND).tobytes()).decode()}"


def read_features(text: str | None, space: str) -> Numbers | None:
    """The numbers of a pair measured in this space; None for any other text."""
    named, _, packed = (text or "").partition(":")
    if named != space:
        return None
    try:
        found = np.frombuffer(base64.b64decode(packed, validate=True), _KIND).astype(np.float64)
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == len(FEATURES) and np.isfinite(found).all() else None
