"""Knobs of the cache: when a repeated question is answered without calling a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from pydantic import field_validator

from backend.settings.knobs.deployments import Rate
from backend.settings.knobs.section import Section, knob


class CacheSettings(Section):
    """Answer a repeated question without calling a model."""

    exact_enabled: bool = knob(True, "Exact cache", "Answer identical requests of one tenant from the cache.")
    ttl_s: int = knob(3600, "Time to live", "Seconds an entry may be served.", ge=1, le=31_536_000)
    max_temperature: float = knob(
        1.0, "Highest temperature", "Requests above it bypass the cache; a request without one counts as 1.", ge=0, le=2
    )
    store_tool_calls: bool = knob(False, "Store tool calls", "Also store answers that call tools.")
    max_entry_kb: int = knob(512, "Largest entry", "Answers above this many kilobytes are not stored.", ge=1, le=16_384)
    max_mb: int = knob(
        1024, "Capacity", "Megabytes of entries kept in SQLite; the oldest go first.", ge=1, le=1_048_576
    )
    coalesce: bool = knob(True, "Coalesce", "Identical calls in flight within a tenant share one upstream call.")
    store_timeout_ms: float = knob(
        50.0, "Store deadline", "Milliseconds a call waits for Redis before it goes on without.", gt=0, le=5000
    )
    replay_tokens_per_s: float = knob(
        0.0, "Replay pace", "Tokens per second of a streamed hit, about; 0 sends it at once.", ge=0, le=100_000
    )
    prefetch_usd_per_day: Rate = knob(
        Decimal(0),
        "Prefetch budget",
        "Dollars a day (UTC) to ask again for entries in demand as they expire; 0 is off.",
    )
    prefetch_usd_per_hour_waited: Rate = knob(
        Decimal(20),
        "Worth of waiting",
        "Dollars that an hour of a caller's waiting is worth; prefetch asks again where P × (cost + wait) > cost.",
    )
    semantic_enabled: bool = knob(
        False, "Semantic cache", "Compare new questions with answered ones; serves them once the evidence suffices."
    )
    max_false_hit_rate: float = knob(
        0.01, "Highest false-hit rate", "Share of semantic hits that may be wrong; the threshold follows.", gt=0, le=0.5
    )
    confidence: float = knob(0.95, "Confidence", "With which that rate is held, at any time.", ge=0.5, le=0.999)
    verify_share: float = knob(
        0.05,
        "Verified share",
        "Would-be hits that are answered fresh, to be compared with the cached answer.",
        gt=0,
        le=1,
    )
    min_labels: int = knob(
        200, "Fewest labels", "Would-be hits that must have been compared before any is served.", ge=50, le=100_000
    )
    threshold_mode: Literal["calibrated", "manual"] = knob(
        "calibrated", "Threshold", "Found from evidence, or the manual one whatever the evidence says."
    )
    manual_threshold: float = knob(
        0.98, "Manual threshold", "Probability above which a hit is served in manual mode.", ge=0.5, le=1
    )
    agreement_cosine: float = knob(
        0.85, "Agreement", "Cosine above which two answers of words are held to say the same.", ge=0.5, le=1
    )
    judge: str = knob(
        "",
        "Judge",
        "Deployment or model that compares answers which text and numbers leave open; it sees both. Empty: none.",
    )
    judge_calls_per_hour: int = knob(
        300,
        "Judge calls",
        "Most calls to the judge an hour and worker; beyond it nothing is compared.",
        ge=1,
        le=100_000,
    )
    embedder: str = knob(
        "built-in",
        "Embedder",
        "built-in, or a deployment that serves embeddings; another one begins anew.",
        min_length=1,
    )
    batch_size: int = knob(
        4, "Batch size", "Most texts that are embedded together; more pays for remote embedders.", ge=1, le=512
    )
    batch_wait_ms: float = knob(
        0.0, "Batch wait", "Milliseconds the first text of a batch waits for others.", ge=0, le=1000
    )
    semantic_timeout_ms: float = knob(
        100.0,
        "Semantic deadline",
        "Milliseconds a call waits for embedding and look-up before it goes on.",
        gt=0,
        le=5000,
    )
    semantic_entries: int = knob(
        200_000, "Most questions", "Questions kept in each worker's memory; the oldest go first.", ge=100, le=10_000_000
    )
    shared_pools: tuple[str, ...] = knob(
        (), "Shared pools", "Tenants that may share semantic hits, one pool a line: name = tenant, tenant."
    )

    @field_validator("shared_pools")
    @classmethod
    def _names_tenants_once(cls, pools: tuple[str, ...]) -> tuple[str, ...]:
        seen: set[str] = set()
        for pool in pools:
            if not _POOL.fullmatch(pool):
                raise ValueError(f"{pool!r} is not of the form: name = tenant, tenant")
            tenants = _tenants_of(pool)
            if len(tenants) < 2 or seen & set(tenants):
                raise ValueError(f"{pool!r} needs two tenants or more, none of them in another pool")
            seen |= set(tenants)
        return pools

    def pool_of(self, tenant: str) -> str | None:
        """The shared pool this tenant belongs to, if any."""
        return read_pools(self.shared_pools).get(tenant) if self.shared_pools else None


_POOL = re.compile(r"[^=,]+=[^=,]+(,[^=,]+)+")


@lru_cache(maxsize=32)
def read_pools(pools: tuple[str, ...]) -> Mapping[str, str]:
    """Every tenant of a shared pool, and the name of its pool."""
    return {tenant: pool.partition("=")[0].strip() for pool in pools for tenant in _tenants_of(pool)}


def _tenants_of(pool: str) -> list[str]:
    return [tenant.strip() for tenant in pool.partition("=")[2].split(",")]
