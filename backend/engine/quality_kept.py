"""Comparisons with full precision, kept: what was compared with what, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from backend.call import new_id
from backend.engine.journal import now_ms
from backend.engine.quality import Quality
from backend.engine.weights import Variant, read_weights
from db.engine import Engine, writing
from db.engine_qualities import EngineQuality, insert_quality


@dataclass(frozen=True, slots=True)
class Judged:
    """An engine and its reference; ``reference_engine`` is None where the reference is a folder that nobody serves."""

    engine: str
    variant: Variant
    reference_engine: str | None
    reference: Variant
    text_name: str


def describe_quality(judged: Judged, quality: Quality) -> EngineQuality:
    """What is to be kept of a comparison made now, weights included where their models are folders here."""
    weights, full = read_weights(judged.variant), read_weights(judged.reference)
    return EngineQuality(
        id=new_id(),
        measured_at=now_ms(),
        engine=judged.engine,
        model=judged.variant.model,
        quantisation=judged.variant.quantisation,
        dtype=judged.variant.dtype,
        precision=weights.precision,
        weight_bytes=weights.size_bytes,
        reference_engine=judged.reference_engine,
        reference_model=judged.reference.model,
        reference_quantisation=judged.reference.quantisation,
        reference_dtype=judged.reference.dtype,
        reference_precision=full.precision,
        reference_weight_bytes=full.size_bytes,
        text_name=judged.text_name,
        tokens=quality.tokens,
        perplexity=quality.perplexity,
        reference_perplexity=quality.reference_perplexity,
        agreement=quality.agreement,
        mean_difference=quality.mean_difference,
    )


def keep_quality(engine: Engine, row: EngineQuality) -> None:
    """Put a comparison in the books."""
    with writing(engine) as connection:
        insert_quality(connection, row)
