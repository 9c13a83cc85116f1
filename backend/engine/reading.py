"""One reading of an engine's own metrics: gauges, counters since its start, histograms, whatever server it is.

Source: the metric names of vLLM 0.32, SGLang and TGI. Ollama publishes none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

Found = TypeVar("Found")

Series = Iterable[tuple[str, Mapping[str, str], float]]
"""Name, labels and value of every sample that was read."""

Names = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a server calls its metrics; of several names for one thing the first that is there counts."""

    gauges: Names
    counters: Names
    histograms: Names


VLLM = Vocabulary(
    gauges={
        "running": ("vllm:num_requests_running",),
        "waiting": ("vllm:num_requests_waiting",),
        "kv_use": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    },
    counters={
        "prompt_tokens": ("vllm:prompt_tokens_total",),
        "completion_tokens": ("vllm:generation_tokens_total",),
        "finished": ("vllm:request_success_total",),
        "preemptions": ("vllm:num_preemptions_total",),
        "prefix_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
        "prefix_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
        "drafts": ("vllm:spec_decode_num_drafts_total",),
        "drafted": ("vllm:spec_decode_num_draft_tokens_total",),
        "accepted": ("vllm:spec_decode_num_accepted_tokens_total",),
    },
    histograms={
        "ttft": ("vllm:time_to_first_token_seconds",),
        "itl": ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
        "total": ("vllm:e2e_request_latency_seconds",),
    },
)
SGLANG = Vocabulary(
    gauges={
        "running": ("sglang:num_running_reqs",),
        "waiting": ("sglang:num_queue_reqs",),
        "kv_use": ("sglang:token_usage",),
    },
    counters={
        "prompt_tokens": ("sglang:prompt_tokens_total",),
        "completion_tokens": ("sglang:generation_tokens_total",),
        "finished": ("sglang:num_requests_total",),
        "prefix_hits": ("sglang:cached_tokens_total",),
        "prefix_queries": ("sglang:prompt_tokens_total",),
    },
    histograms={
        "ttft": ("sglang:time_to_first_token_seconds",),
        "itl": ("sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"),
        "total": ("sglang:e2e_request_latency_seconds",),
    },
)
TGI = Vocabulary(
    gauges={"running": ("tgi_batch_current_size",), "waiting": ("tgi_queue_size",)},
    counters={
        "prompt_tokens": ("tgi_request_input_length_sum",),
        "completion_tokens": ("tgi_request_generated_tokens_sum",),
        "finished": ("tgi_request_success", "tgi_request_success_total"),
    },
    histograms={
        "itl": ("tgi_request_mean_time_per_token_duration",),
        "total": ("tgi_request_duration",),
    },
)
VOCABULARIES: Mapping[str, Vocabulary] = MappingProxyType({"vllm": VLLM, "sglang": SGLANG, "tgi": TGI})
"""The servers whose metrics can be read, by the name of the server."""

_POSITIONS = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
_CACHE = "vllm:cache_config_info"
_BORN = "process_start_time_seconds"


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything one scrape said; a metric that was not there is absent. Counters run since the server's start."""

    at: int
    """Epoch milliseconds."""
    gauges: Mapping[str, float] = field(default_factory=dict)
    counters: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    """Per histogram: upper bound in seconds → calls up to it."""
    accepted_by_position: Mapping[int, float] = field(default_factory=dict)
    born: float | None = None
    """When the server process started, epoch seconds."""
    kv_tokens: int | None = None
    """Tokens the engine's KV cache has room for."""


def read_series(series: Series, vocabulary: Vocabulary, at: int) -> Reading:
    """One reading out of named samples; the ranks of one engine are summed (of cache use the fullest counts)."""
    sums: dict[str, float] = {}
    fullest: dict[str, float] = {}
    buckets: dict[str, dict[float, float]] = {}
    positions: dict[int, float] = {}
    kv_tokens = None
    for name, labels, value in series:
        if math.isnan(value):
            continue
        sums[name] = sums.get(name, 0.0) + value
        fullest[name] = max(fullest.get(name, value), value)
        if name.endswith("_bucket"):
            held = buckets.setdefault(name.removesuffix("_bucket"), {})
            bound = float(labels["le"])
            held[bound] = held.get(bound, 0.0) + value
        elif name == _POSITIONS:
            place = int(labels["position"])
            positions[place] = positions.get(place, 0.0) + value
        elif name == _CACHE:
            kv_tokens = (kv_tokens or 0) + _room(labels)
    gauges = _pick(vocabulary.gauges, sums)
    if "kv_use" in gauges:
        gauges["kv_use"] = _pick(vocabulary.gauges, fullest)["kv_use"]
    return Reading(
        at=at,
        gauges=gauges,
        counters=_pick(vocabulary.counters, sums),
        histograms={kind: dict(sorted(found.items())) for kind, found in _pick(vocabulary.histograms, buckets).items()},
        accepted_by_position=dict(sorted(positions.items())),
        born=fullest.get(_BORN),
        kv_tokens=kv_tokens or None,
    )


def _pick(names: Names, found: Mapping[str, Found]) -> dict[str, Found]:
    chosen = {kind: next((name for name in candidates if name in found), None) for kind, candidates in names.items()}
    return {kind: found[name] for kind, name in chosen.items() if name is not None}


def _room(labels: Mapping[str, str]) -> int:
    blocks = next(
        (labels[name] for name in ("num_gpu_blocks", "num_cpu_blocks") if labels.get(name, "").isdigit()), "0"
    )
    size = labels.get("block_size", "")
    return int(blocks) * (int(size) if size.isdigit() else 0)
