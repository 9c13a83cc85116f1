"""Cost: the only place where tokens are multiplied by prices."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from backend.pricing.prices import Price, Rates
from backend.pricing.usage import Usage

MTOK = 1_000_000
MOST_NUSD = 2**63 - 1
"""What a BIGINT holds; nine billion dollars for one call is nonsense, not a cost."""


class CostLine(NamedTuple):
    """One bucket of a call: tokens times rate. The rate is ``None`` where no rate is known."""

    bucket: str
    tokens: int
    rate_nusd_per_mtok: int | None

    @property
    def nusd(self) -> Fraction | None:
        """The exact amount in nano-dollars, before the call's one rounding."""
        return None if self.rate_nusd_per_mtok is None else Fraction(self.tokens * self.rate_nusd_per_mtok, MTOK)


class Cost(NamedTuple):
    """What a call cost, in nano-dollars; ``None`` when unknown, which is never the same as zero."""

    total_nusd: int | None
    lines: tuple[CostLine, ...] = ()
    per_call_nusd: int = 0
    notes: tuple[str, ...] = ()


def cost_of(usage: Usage, price: Price | None, *, service_tier: str | None = None) -> Cost:
    """The cost of a call: each bucket at its rate, summed exactly, rounded once half to even.

    A bucket without a rate of its own takes its whole's (cached and written tokens: input, reasoning: output, images:
    either); audio without a rate makes the cost unknown, for it costs many times more than text.
    """
    if price is None:
        return Cost(None, notes=(*usage.notes, "price_missing"))
    if usage.source == "unknown" or usage.prompt_tokens is None or usage.completion_tokens is None:
        return Cost(None, notes=usage.notes)
    tier = service_tier or usage.service_tier
    rates = price.rates_for(usage.prompt_tokens, tier)
    lines = _prompt_lines(usage, usage.prompt_tokens, rates) + _completion_lines(usage, usage.completion_tokens, rates)
    notes = usage.notes
    if tier is not None and not price.has_tier(tier):
        notes = (*notes, "price_incomplete:service_tier")
    if usage.cache_write_1h_tokens and rates.cache_write_1h_nusd_per_mtok is None:
        notes = (*notes, "price_incomplete:cache_write_1h")
    return _add_up(lines, price.per_call_nusd, notes)


def _add_up(lines: list[CostLine], per_call_nusd: int, notes: tuple[str, ...]) -> Cost:
    total = per_call_nusd * MTOK
    for bucket, tokens, rate in lines:
        if rate is None:
            return Cost(None, tuple(lines), per_call_nusd, (*notes, f"price_missing:{bucket}"))
        total += tokens * rate
    nusd = round_half_even(total, MTOK)
    if nusd > MOST_NUSD:
        return Cost(None, tuple(lines), per_call_nusd, (*notes, "cost_out_of_range"))
    return Cost(nusd, tuple(lines), per_call_nusd, notes)


def _prompt_lines(usage: Usage, prompt: int, rates: Rates) -> list[CostLine]:
    plain = rates.input_nusd_per_mtok
    left = prompt
    lines = []
    if usage.cached_tokens:
        left -= usage.cached_tokens
        lines.append(CostLine("cache_read", usage.cached_tokens, _first(rates.cache_read_nusd_per_mtok, plain)))
    if usage.cache_write_tokens or usage.cache_write_1h_tokens:
        lines += _write_lines(usage, rates)
        left -= (usage.cache_write_tokens or 0) + (usage.cache_write_1h_tokens or 0)
    if usage.audio_prompt_tokens:  # what was cached may be counted as audio too: bill it once
        audio = min(usage.audio_prompt_tokens, left)
        left -= audio
        lines.append(CostLine("audio_in", audio, rates.audio_in_nusd_per_mtok))
    if usage.image_prompt_tokens and rates.image_in_nusd_per_mtok is not None:
        image = min(usage.image_prompt_tokens, left)
        left -= image
        lines.append(CostLine("image_in", image, rates.image_in_nusd_per_mtok))
    if left:
        lines.insert(0, CostLine("input", left, plain))
    return lines


def _write_lines(usage: Usage, rates: Rates) -> list[CostLine]:
    five_minutes = _first(rates.cache_write_5m_nusd_per_mtok, rates.input_nusd_per_mtok)
    one_hour = _first(rates.cache_write_1h_nusd_per_mtok, five_minutes)
    lines = (
        CostLine("cache_write_5m", usage.cache_write_tokens or 0, five_minutes),
        CostLine("cache_write_1h", usage.cache_write_1h_tokens or 0, one_hour),
    )
    return [line for line in lines if line.tokens]


def _completion_lines(usage: Usage, completion: int, rates: Rates) -> list[CostLine]:
    plain = rates.output_nusd_per_mtok
    left = completion
    lines = []
    if usage.reasoning_tokens:
        left -= usage.reasoning_tokens
        lines.append(CostLine("reasoning", usage.reasoning_tokens, _first(rates.reasoning_nusd_per_mtok, plain)))
    if usage.audio_completion_tokens:
        audio = min(usage.audio_completion_tokens, left)
        left -= audio
        lines.append(CostLine("audio_out", audio, rates.audio_out_nusd_per_mtok))
    if usage.image_completion_tokens and rates.image_out_nusd_per_mtok is not None:
        image = min(usage.image_completion_tokens, left)
        left -= image
        lines.append(CostLine("image_out", image, rates.image_out_nusd_per_mtok))
    if left:
        lines.insert(0, CostLine("output", left, plain))
    return lines


def _first(rate: int | None, otherwise: int | None) -> int | None:
    return otherwise if rate is None else rate


def round_half_even(numerator: int, denominator: int) -> int:
    """Integer division that rounds to nearest and ties to even; for numerators of either sign."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    return quotient + (twice > denominator or (twice == denominator and quotient & 1))


def upper_bound_nusd(
    prompt_tokens: int, max_tokens: int, n: int, price: Price | None, *, service_tier: str | None = None
) -> int | None:
    """The most that a text call can cost: every prompt token at its dearest, ``n`` full answers.

    Rounded up. ``None`` when the price is unknown. Raises ``ValueError`` on counts that are negative or absurd.
    Audio and images are left out: nobody knows their tokens before the call.
    """
    for name, count in (("prompt_tokens", prompt_tokens), ("max_tokens", max_tokens), ("n", n)):
        if type(count) is not int or not 0 <= count <= 2**53:
            raise ValueError(f"{name} must be a whole number from 0 to 2**53, not {count!r}")
    if price is None:
        return None
    rates = price.rates_for(prompt_tokens, service_tier)
    if rates.input_nusd_per_mtok is None or rates.output_nusd_per_mtok is None:
        return None
    written = max(rates.cache_write_5m_nusd_per_mtok or 0, rates.cache_write_1h_nusd_per_mtok or 0)
    dearest_prompt = max(rates.input_nusd_per_mtok, rates.cache_read_nusd_per_mtok or 0, written)
    dearest_completion = max(rates.output_nusd_per_mtok, rates.reasoning_nusd_per_mtok or 0)
    total = prompt_tokens * dearest_prompt + max_tokens * n * dearest_completion
    return min(price.per_call_nusd - (-total // MTOK), MOST_NUSD)


def saved_by_prefix_nusd(usage: Usage, price: Price | None, *, service_tier: str | None = None) -> int | None:
    """What the provider's prefix cache saved on this call: cached tokens at (input rate − cache-read rate).

    Zero when nothing was cached or no discount is published, ``None`` when price or usage is unknown.
    """
    if price is None or usage.source == "unknown" or usage.prompt_tokens is None:
        return None
    rates = price.rates_for(usage.prompt_tokens, service_tier or usage.service_tier)
    full, discounted = rates.input_nusd_per_mtok, rates.cache_read_nusd_per_mtok
    if not usage.cached_tokens or discounted is None:
        return 0
    return None if full is None else round_half_even(usage.cached_tokens * (full - discounted), MTOK)


def saved_by_cache_nusd(usage: Usage, price: Price | None, *, service_tier: str | None = None) -> int | None:
    """What a cache hit saved: the cost that the same usage would have had at the price in force now."""
    return cost_of(usage, price, service_tier=service_tier).total_nusd
