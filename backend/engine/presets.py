"""Starting points for engines: what to set for a kind of machine or of use; the rest is vLLM's own choice."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "balanced": {"max_num_seqs": 128, "gpu_memory_utilization": 0.9, "prefix_caching": True},
        "throughput": {"max_num_seqs": 512, "max_num_batched_tokens": 16_384, "gpu_memory_utilization": 0.94},
        "latency": {"max_num_seqs": 32, "max_num_batched_tokens": 2048, "speculation": {"method": "ngram"}},
        "long-context": {"max_num_seqs": 16, "max_num_batched_tokens": 8192, "extra_args": ["--kv-cache-dtype=fp8"]},
        "small-gpu": {"max_num_seqs": 32, "max_model_len": 8192, "quantisation": "fp8", "gpu_memory_utilization": 0.92},
        "cpu": {"max_num_seqs": 16, "max_model_len": 2048, "cpu_kv_cache_gb": 1, "extra_args": ["--enforce-eager"]},
    }
)
"""By name; a preset holds knobs of ``EngineSpec``. Preset ``cpu`` starts quickly and needs no compiler."""


def with_preset(name: str | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values on top of a preset's. Raises ``LookupError`` naming the presets."""
    if name is None:
        return dict(values)
    if name not in PRESETS:
        raise LookupError(f"there is no preset {name}; presets are {', '.join(PRESETS)}")
    return {**PRESETS[name], **values}
