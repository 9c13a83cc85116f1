"""Prefetch: which entries of the exact cache are worth asking for again before they expire, and what that takes.

Without it the first caller after the end of an entry's life pays for the answer and waits for it; with it Governor
pays for certain, also where nobody comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import orjson

from backend.call import Call, Endpoint

if TYPE_CHECKING:
    from decimal import Decimal

    from backend.settings.knobs import CacheSettings

ENDPOINTS: frozenset[str] = frozenset({"chat.completions", "completions", "embeddings"})
CLAIM_MS = 600_000
"""So long an entry is one worker's; who fails leaves it alone until then."""
MOST_LISTED = 200

_PRIOR_S = 600.0
_LEAD_SHARE = 0.1
_LONGEST_LEAD_MS = 300_000
_HOUR_MS = 3_600_000


@dataclass(slots=True, frozen=True)
class Due:
    """An entry near the end of its life that was served at least once; times in epoch milliseconds."""

    key: bytes
    tenant: str
    model: str
    stored_at: int
    expires_at: int
    cost_nusd: int | None
    endpoint: str
    namespace: str
    latency_ms: float
    hits: int


@dataclass(slots=True, frozen=True)
class Decision:
    """Whether to ask again, and why."""

    refresh: bool
    reason: str


class Refreshes(Protocol):
    """The entries as prefetch sees them, and the day's spending; every worker sees the same.

    All of it raises ``StoreUnavailable``.
    """

    async def list_due(self, now_ms: int, before_ms: int) -> list[Due]:
        """Unclaimed entries with a recipe and with hits that expire before a time, those with most hits first."""
        ...

    async def claim(self, due: Due, now_ms: int) -> bytes | None:
        """The request, for the one worker that may ask it now; None when another does or the entry was replaced."""
        ...

    async def reserve(self, day: int, amount_nusd: int, limit_nusd: int) -> bool:
        """Count an amount as spent, unless the day's sum would exceed the limit; days since 1970, UTC."""
        ...

    async def settle(self, day: int, difference_nusd: int) -> None:
        """Correct the day's sum once it is known what a reserved call cost."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


def decide(due: Due, settings: CacheSettings, now_ms: int) -> Decision:
    """Refresh when P × (cost + value of the wait) > cost; P is that of at least one request in the next life.

    Requests are Poisson, their rate has a Gamma prior of shape 0 and rate 600 s: after k hits in t seconds its mean is
    k / (t + 600), so towards zero for short lives. P is the posterior predictive one, which is less sure than the mean
    alone would be: 1 − ((t + 600) / (t + 600 + life))^k (Gelman et al., Bayesian Data Analysis, 2.6).
    """
    cost_nusd = due.cost_nusd
    if cost_nusd is None:
        return Decision(refresh=False, reason="what it costs is not known")
    if due.hits < 1:
        return Decision(refresh=False, reason="nobody asked for it in this life")
    probability = probability_of_demand(due.hits, max(now_ms - due.stored_at, 0) / 1000.0, settings.ttl_s)
    wait_nusd = due.latency_ms * nano(settings.prefetch_usd_per_hour_waited) / _HOUR_MS
    refresh = probability * (cost_nusd + wait_nusd) > cost_nusd
    terms = f"{probability:.2f} × (${cost_nusd / 1e9:.6f} + ${wait_nusd / 1e9:.6f} of waiting)"
    sign = ">" if refresh else "≤"
    return Decision(refresh, f"{due.hits} hits; {terms} {sign} ${cost_nusd / 1e9:.6f}")


def probability_of_demand(hits: int, age_s: float, life_s: float) -> float:
    """Of at least one request within ``life_s``, after so many in ``age_s``."""
    seen_s = age_s + _PRIOR_S
    return float(1.0 - (seen_s / (seen_s + life_s)) ** hits)


def lead_ms(settings: CacheSettings) -> int:
    """How long before their end entries are looked at: a tenth of their life, at most five minutes."""
    return min(int(settings.ttl_s * 1000 * _LEAD_SHARE), _LONGEST_LEAD_MS)


def nano(dollars: Decimal) -> int:
    """Dollars as whole nano-dollars."""
    return int(dollars * 1_000_000_000)


def read_request(due: Due, request: bytes) -> Call | None:
    """The call to make; None where the bytes are no request for this model."""
    try:
        body: Any = orjson.loads(request)
    except ValueError:
        return None
    if not isinstance(body, dict) or body.get("model") != due.model or due.endpoint not in ENDPOINTS:
        return None
    scope = {"namespace": due.namespace} if due.namespace else {}
    return Call(cast("Endpoint", due.endpoint), body, due.model, stream=False, wants_usage=False, cache=scope)
