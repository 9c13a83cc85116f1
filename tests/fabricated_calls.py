"""One made-up call at a time: models, keys, outcomes and times as a gateway might have written them."""

from __future__ import annotations

import json
import math
import random
from typing import Any

from db.tables import calls

MODELS = {
    "gpt-4o": ("openai", 2_500_000_000, 10_000_000_000),
    "gpt-4o-mini": ("openai", 150_000_000, 600_000_000),
    "gpt-4.1": ("openai", 2_000_000_000, 8_000_000_000),
    "gpt-4.1-nano": ("openai", 100_000_000, 400_000_000),
    "claude-sonnet-4-5": ("anthropic", 3_000_000_000, 15_000_000_000),
    "claude-haiku-4-5": ("anthropic", 1_000_000_000, 5_000_000_000),
    "gemini-2.5-flash": ("vertex_ai", 300_000_000, 2_500_000_000),
    "text-embedding-3-small": ("openai", 20_000_000, 0),
    "llama-3.3-70b": ("vllm", 0, 0),
    "house-model": ("vllm", None, None),
}
"""Provider and rates in nano-dollars per million tokens; none: nobody has priced it."""

FEATURES = ["search", "chat", "summaries", "extraction", "support", "translation", "code-review", "triage"]
DEPARTMENTS = ["product", "support", "research", "finance", "legal"]
ENVIRONMENTS = ["production", "production", "production", "staging", "development"]

REFUSED = {"status": "refused", "state": "failed", "error_code": "invalid_key", "http_status": 401, "attempts": 0}
REFUSED |= {"cost_nusd": 0, "overhead_ms": 0.2, "latency_ms": 0.3}
FAILED = {"status": "failed", "state": "failed", "error_code": "upstream_timeout", "http_status": 504, "attempts": 2}
FAILED |= {"cost_nusd": 0, "overhead_ms": 0.6, "latency_ms": 30_000.0, "cache_kind": "miss"}


def fabricate_call(chance: random.Random, key_count: int = 30) -> dict[str, Any]:
    """The columns of one closed call, as a gateway might have written them, but for its time and id."""
    key = int(key_count * chance.random() ** 2)
    model = list(MODELS)[(key + int(3 * chance.random() ** 2)) % len(MODELS)]
    provider, input_rate, output_rate = MODELS[model]
    row: dict[str, Any] = {column.name: None for column in calls.c}
    row |= {
        "id": "",
        "started_at": 0,
        "worker": "fabricated",
        "endpoint": "embeddings" if "embedding" in model else "chat.completions",
        "origin": "user" if chance.random() < 0.97 else "judge",
        "tenant": "default",
        "key_id": f"key-{key}",
        "feature": FEATURES[(key + int(2 * chance.random())) % len(FEATURES)],
        "department": DEPARTMENTS[key % len(DEPARTMENTS)],
        "environment": ENVIRONMENTS[key % len(ENVIRONMENTS)],
        "model": model,
        "provider": provider,
        "deployment": f"{model}-{'a' if chance.random() < 0.7 else 'b'}",
        "served_model": model,
        "stream": chance.random() < 0.6,
        "rule": "default",
        "route_reason": "the first of its deployments",
        "propensity": 1.0,
        "settings_version": 1,
        "tags": json.dumps({"release": f"2026.{chance.randrange(1, 9)}"}),
    }
    return row | _outcome(chance, input_rate, output_rate)


def _outcome(chance: random.Random, input_rate: int | None, output_rate: int | None) -> dict[str, Any]:
    fate = chance.random()
    if fate < 0.004:
        return REFUSED
    if fate < 0.02:
        return FAILED
    prompt, completion = int(chance.lognormvariate(6.5, 1.1)), int(chance.lognormvariate(4.6, 0.9))
    unknown = input_rate is None or output_rate is None
    cost = None if unknown else (prompt * (input_rate or 0) + completion * (output_rate or 0)) // 10**6
    hit = chance.random() < 0.18
    return {
        "status": "cancelled" if fate < 0.03 else "ok",
        "state": "estimated" if fate < 0.05 else "settled",
        "usage_source": "estimated" if fate < 0.05 else "provider",
        "http_status": 200,
        "finish_reason": "stop",
        "attempts": 0 if hit else 1,
        **_cache(chance, hit=hit),
        **_tokens(chance, prompt, completion),
        **_money(cost, hit=hit),
        **_durations(chance, completion, hit=hit),
    }


def _cache(chance: random.Random, *, hit: bool) -> dict[str, Any]:
    """Where the answer came from; a third of the misses had an answered question near them."""
    kind = chance.choice(["exact", "exact", "exact", "semantic"] if hit else ["miss", "miss", "miss", "bypass"])
    near = {"similarity": min(1.0, chance.gauss(0.93, 0.03)), "similarity_threshold": 0.98, "embed_ms": 3.0}
    if kind == "semantic":
        return {"cache_kind": kind, **near, "cache_probability": 1 - 0.02 * chance.random()}
    if kind == "miss" and chance.random() < 0.33:
        refused = chance.random() < 0.2
        return {"cache_kind": kind, **near, "cache_probability": 0.0 if refused else chance.random()}
    return {"cache_kind": kind}


def _tokens(chance: random.Random, prompt: int, completion: int) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    cached = prompt // 2 if chance.random() < 0.2 else 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": cached,
        "usage": json.dumps(usage),
    }


def _money(cost: int | None, *, hit: bool) -> dict[str, Any]:
    saved = cost if hit else 0
    return {
        "cost_nusd": 0 if hit else cost,
        "baseline_nusd": cost,
        "saved_nusd": saved,
        "saved_cache_nusd": saved,
        "price_id": None if cost is None else "price-fabricated",
    }


def _durations(chance: random.Random, completion: int, *, hit: bool) -> dict[str, float]:
    overhead = chance.lognormvariate(math.log(0.35), 0.4)
    if hit:
        return {"overhead_ms": overhead, "ttft_ms": overhead, "latency_ms": overhead * 1.2, "queue_ms": 0.0}
    ttft, itl = chance.lognormvariate(math.log(320), 0.5), chance.lognormvariate(math.log(14), 0.3)
    return {
        "overhead_ms": overhead,
        "ttft_ms": ttft,
        "itl_ms": itl,
        "latency_ms": ttft + itl * completion,
        "queue_ms": 0.0,
    }
