"""A comparison of a quantised engine with the full-precision one, as it is kept."""

from __future__ import annotations

from db.engine_qualities import EngineQuality

GIB = 2**30
JUDGED = EngineQuality(
    id="q1",
    measured_at=1_790_000_000_000,
    engine="small",
    model="models/llama-w4a16",
    quantisation="none",
    dtype="auto",
    precision="w4a16",
    weight_bytes=4 * GIB,
    reference_engine="chat",
    reference_model="models/llama",
    reference_quantisation="none",
    reference_dtype="auto",
    reference_precision="bf16",
    reference_weight_bytes=16 * GIB,
    text_name="novel.txt",
    tokens=8160,
    perplexity=12.24,
    reference_perplexity=12.0,
    agreement=0.942,
    mean_difference=0.11,
)
