"""What a call costs: the price frozen at dispatch, the usage read on the way, the amounts set at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from backend.call import Attempt, Call, Endpoint, Entry
from backend.errors import Unpriced
from backend.pricing.cost import cost_of, saved_by_cache_nusd, saved_by_prefix_nusd, upper_bound_nusd
from backend.pricing.overrides import price_from_override
from backend.pricing.prices import Price, PriceBook
from backend.pricing.usage import Usage, estimate_usage
from backend.settings.prices import ESTIMATE, dollars_of, dollars_of_estimate
from backend.upstream.estimate import prompt_tokens_of

if TYPE_CHECKING:
    from backend.settings.knobs import Deployment, PriceOverride, PricingSettings
    from backend.upstream.dispatch import Outgoing


class Bill:
    """Prices calls; remembers the overrides that settings state, for they are derived each time settings change."""

    def __init__(self, book: Callable[[], PriceBook]) -> None:
        self._book = book
        self._overrides: dict[int, tuple[object, Price]] = {}

    def freeze(self, out: Outgoing, attempt: Attempt, deployment: Deployment) -> None:
        """Set the attempt's price id and upper bound; raises ``Unpriced`` where the settings demand a price."""
        entry, pricing = out.entry, out.settings.pricing
        price = self.price_of(deployment, attempt.model, attempt.started_at)
        if price is None and pricing.unpriced == "block":
            raise Unpriced(f"The price of model {out.call.model!r} is not known.", param="model")
        if price is None and pricing.unpriced == "estimate":
            price = self._estimated(pricing)
            entry.note("priced at the estimated rates")
        entry.price = price
        entry.price_id = attempt.price_id = price.id if price else None
        attempt.reserved_nusd = upper_bound_of(out.call.body, out.call.endpoint, entry.request_bytes, price)

    def price_of(self, deployment: Deployment, model: str, at_ms: int) -> Price | None:
        """The price in force: the deployment's own, else the price table's."""
        if deployment.price is not None:
            return self._override(deployment.name, deployment.price)
        return self._book().price_at(deployment.price_model or model, deployment.provider, at_ms)

    def price_or_estimate(
        self, deployment: Deployment, model: str, at_ms: int, pricing: PricingSettings
    ) -> Price | None:
        """The price in force, or the estimated rates where the settings say so."""
        price = self.price_of(deployment, model, at_ms)
        return self._estimated(pricing) if price is None and pricing.unpriced == "estimate" else price

    def settle(self, entry: Entry) -> None:
        """Set tokens, cost and savings of a call that ended; unknown stays None."""
        usage = entry.usage_read
        if usage is None or usage.source == "unknown":
            if usage is not None:
                _write_usage(entry, usage)
            return
        _write_usage(entry, usage)
        if entry.cache_kind in ("exact", "semantic", "coalesced") and not entry.tries:
            _settle_hit(entry, usage)
            return
        cost = cost_of(usage, entry.price, service_tier=entry.service_tier)
        entry.cost_nusd = cost.total_nusd
        for note in cost.notes:
            entry.note(note)
        if cost.total_nusd is None:
            return
        prefix = saved_by_prefix_nusd(usage, entry.price, service_tier=entry.service_tier)
        entry.saved_nusd = entry.saved_prefix_nusd = prefix
        entry.baseline_nusd = cost.total_nusd + (prefix or 0)
        entry.tries[-1].cost_nusd = cost.total_nusd

    def _override(self, name: str, stated: PriceOverride) -> Price:
        known = self._overrides.get(id(stated))
        if known is None:
            if len(self._overrides) > 1000:
                self._overrides.clear()
            known = self._overrides[id(stated)] = (stated, price_from_override(name, dollars_of(stated)))
        return known[1]

    def _estimated(self, pricing: PricingSettings) -> Price:
        known = self._overrides.get(id(pricing))
        if known is None:
            known = self._overrides[id(pricing)] = (
                pricing,
                price_from_override(ESTIMATE, dollars_of_estimate(pricing)),
            )
        return known[1]


def estimate_delivered(entry: Entry, call: Call) -> Usage:
    """Usage of an answer nobody counted: the prompt by its length, the completion by what was delivered."""
    return estimate_usage(prompt_tokens_of(call.body), entry.delivered_tokens)


def _settle_hit(entry: Entry, usage: Usage) -> None:
    """A hit costs nothing and saves what its source cost; a follower's leader may not have been settled yet."""
    entry.cost_nusd = 0
    if entry.cache_kind == "coalesced":
        entry.saved_cache_nusd = saved_by_cache_nusd(usage, entry.price)
    entry.baseline_nusd = entry.saved_nusd = entry.saved_cache_nusd


def _write_usage(entry: Entry, usage: Usage) -> None:
    entry.prompt_tokens = usage.prompt_tokens
    entry.cached_tokens = usage.cached_tokens
    entry.cache_write_tokens = usage.cache_write_tokens
    entry.cache_write_1h_tokens = usage.cache_write_1h_tokens
    entry.completion_tokens = usage.completion_tokens
    entry.reasoning_tokens = usage.reasoning_tokens
    entry.usage_source = usage.source
    entry.usage = dict(usage.raw) or None
    if entry.usage and entry.service_tier:
        entry.usage.setdefault("service_tier", entry.service_tier)  # OpenAI says it beside the usage
    for note in usage.notes:
        entry.note(note)


def upper_bound_of(body: Mapping[str, Any], endpoint: Endpoint, size: int, price: Price | None) -> int | None:
    """Every token has at least one byte, so the request's length bounds its tokens; None without a token limit."""
    limit = 0 if endpoint == "embeddings" else body.get("max_completion_tokens", body.get("max_tokens"))
    if not isinstance(limit, int):
        return None
    choices, tier = body.get("best_of") or body.get("n") or 1, body.get("service_tier")
    return upper_bound_nusd(size, limit, choices, price, service_tier=tier if isinstance(tier, str) else None)
