"""MiniLM in plain numpy, float32: what the built-in embedder is measured against. One text at a time, no tricks."""

from __future__ import annotations

import numpy as np

from backend.cache.semantic.embedding import Vector
from backend.cache.semantic.minilm_graph import EPSILON, HEADS, HIDDEN, LAYERS, Weights


def encode(weights: Weights, ids: list[int]) -> Vector:
    """The last hidden states of one text, (pieces, 384)."""
    words = weights["embeddings.word_embeddings.weight"][ids]
    places = weights["embeddings.position_embeddings.weight"][: len(ids)]
    segment = weights["embeddings.token_type_embeddings.weight"][0]
    hidden = normalise(weights, "embeddings.LayerNorm", words + places + segment)
    for layer in range(LAYERS):
        hidden = transform(weights, f"encoder.layer.{layer}", hidden)
    return hidden


def embed(weights: Weights, ids: list[int]) -> Vector:
    """The mean of the last hidden states, of unit length."""
    mean: Vector = encode(weights, ids).mean(axis=0)
    return unit(mean)


def unit(rows: Vector) -> Vector:
    """Rows (or one) scaled to length 1."""
    scaled: Vector = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return scaled


def transform(weights: Weights, layer: str, hidden: Vector) -> Vector:
    attended = attend(weights, f"{layer}.attention.self", hidden)
    projected = multiply(weights, f"{layer}.attention.output.dense", attended)
    hidden = normalise(weights, f"{layer}.attention.output.LayerNorm", projected + hidden)
    widened = gelu(multiply(weights, f"{layer}.intermediate.dense", hidden))
    return normalise(weights, f"{layer}.output.LayerNorm", multiply(weights, f"{layer}.output.dense", widened) + hidden)


def attend(weights: Weights, name: str, hidden: Vector) -> Vector:
    query, key, value = (
        multiply(weights, f"{name}.{part}", hidden).reshape(len(hidden), HEADS, -1).transpose(1, 0, 2)
        for part in ("query", "key", "value")
    )
    scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(HIDDEN // HEADS))
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    mixed: Vector = (shares @ value).transpose(1, 0, 2).reshape(len(hidden), HIDDEN)
    return mixed


def multiply(weights: Weights, name: str, hidden: Vector) -> Vector:
    product: Vector = hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return product


def normalise(weights: Weights, name: str, rows: Vector) -> Vector:
    centred = rows - rows.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
    normalised: Vector = centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return normalised


def gelu(rows: Vector) -> Vector:
    """With the error function of Abramowitz and Stegun 7.1.26 (off by 1.5e-7 at most)."""
    size = np.abs(rows) * np.float32(0.70710678)
    step = 1 / (1 + np.float32(0.3275911) * size)
    series = (
        (((1.061405429 * step - 1.453152027) * step + 1.421413741) * step - 0.284496736) * step + 0.254829592
    ) * step
    error = np.sign(rows) * (1 - series * np.exp(-size * size))
    activated: Vector = (0.5 * rows * (1 + error)).astype(np.float32)
    return activated
