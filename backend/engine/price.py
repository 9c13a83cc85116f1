"""What tokens of a self-hosted engine cost: from $ per GPU-hour, measured effort and utilisation; integers throughout.

Effort is machine time per token, fitted to saturated loads of different shapes: seconds = a × prompt tokens + b ×
completion tokens. At the margin a token costs the machine time it takes; amortised, the idle time is shared among the
tokens that were served, so that a period's tokens together cost what the period cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from backend.pricing.cost import MTOK, round_half_even

HOUR_US = 3_600_000_000
USUAL_RATIO = 4
"""Completion tokens count as so many prompt tokens where only one shape was measured, as API prices usually do."""
_DISTINCT = 0.02
_NUSD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Point:
    """One saturated load: seconds, and the tokens that were computed in them (those of a prefix cache were not)."""

    seconds: float
    prompt_tokens: float
    completion_tokens: float


@dataclass(frozen=True, slots=True)
class Effort:
    """Machine microseconds per million tokens at full load, and how they were found."""

    prompt_us_per_mtok: int
    completion_us_per_mtok: int
    method: str

    def busy_us(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Machine time these tokens take at full load, in microseconds."""
        spent = prompt_tokens * self.prompt_us_per_mtok + completion_tokens * self.completion_us_per_mtok
        return round_half_even(spent, MTOK)


@dataclass(frozen=True, slots=True)
class TokenRates:
    """Nano-dollars per million tokens."""

    input_nusd_per_mtok: int
    output_nusd_per_mtok: int

    def cost_nusd(self, prompt_tokens: int, completion_tokens: int) -> int:
        """What these tokens cost, rounded once."""
        spent = prompt_tokens * self.input_nusd_per_mtok + completion_tokens * self.output_nusd_per_mtok
        return round_half_even(spent, MTOK)


@dataclass(frozen=True, slots=True)
class Served:
    """Tokens served in a period of so many microseconds in which the engine was paid for."""

    prompt_tokens: int
    completion_tokens: int
    period_us: int


@dataclass(frozen=True, slots=True)
class BreakEven:
    """From how many calls an hour the engine is cheaper than an API for the same calls."""

    calls_per_hour: int | None
    """None when the API is free."""
    capacity_per_hour: int
    """Calls an hour the engine can do at all."""
    api_nusd_per_call: int
    reachable: bool
    utilisation: float | None
    """Share of the engine's capacity that is busy there; above 1 it is out of reach."""


def hourly_nusd(usd_per_gpu_hour: Decimal, gpus: int) -> int:
    """What an hour of the engine costs, in nano-dollars."""
    return int((usd_per_gpu_hour * _NUSD * gpus).to_integral_value())


def fit_effort(points: Sequence[Point]) -> Effort | None:
    """The effort that explains saturated loads best (least squares, nothing negative); None without tokens.

    Two shapes that differ are needed to tell prompt from completion; with one, a completion token counts as four.
    """
    known = [point for point in points if point.seconds > 0 and point.prompt_tokens + point.completion_tokens > 0]
    if not known:
        return None
    rates = [(point.prompt_tokens / point.seconds, point.completion_tokens / point.seconds) for point in known]
    solved = _solve(rates) if _differ(rates) else None
    if solved is not None:
        return _effort(*solved, f"measured from {len(known)} loads of different shapes")
    busiest = max(rates, key=lambda rate: rate[0] + USUAL_RATIO * rate[1])
    prompt_s = 1 / (busiest[0] + USUAL_RATIO * busiest[1])
    return _effort(
        prompt_s, USUAL_RATIO * prompt_s, f"one shape measured; completion : prompt assumed {USUAL_RATIO} : 1"
    )


def rates_at_margin(hour_nusd: int, effort: Effort) -> TokenRates:
    """What a token costs on an engine that is never idle."""
    return TokenRates(
        round_half_even(hour_nusd * effort.prompt_us_per_mtok, HOUR_US),
        round_half_even(hour_nusd * effort.completion_us_per_mtok, HOUR_US),
    )


def utilisation_of(effort: Effort, served: Served) -> Fraction | None:
    """Share of the period the served tokens needed at full load, at most 1; None for no period."""
    if served.period_us <= 0:
        return None
    return min(Fraction(effort.busy_us(served.prompt_tokens, served.completion_tokens), served.period_us), Fraction(1))


def rates_amortised(hour_nusd: int, effort: Effort, served: Served) -> TokenRates | None:
    """Rates at which the served tokens together cost what the period cost; None when nothing was served.

    Prompt and completion keep the proportion of their efforts.
    """
    busy_us = effort.busy_us(served.prompt_tokens, served.completion_tokens)
    if busy_us <= 0 or served.period_us <= 0:
        return None
    scale = hour_nusd * served.period_us
    return TokenRates(
        round_half_even(scale * effort.prompt_us_per_mtok, HOUR_US * busy_us),
        round_half_even(scale * effort.completion_us_per_mtok, HOUR_US * busy_us),
    )


def rates_at(rates: TokenRates, utilisation: Fraction) -> TokenRates:
    """Rates at the margin turned into those at an expected utilisation (above 0, at most 1). Raises ``ValueError``."""
    if not 0 < utilisation <= 1:
        raise ValueError("a utilisation lies above 0 and is at most 1")
    top, bottom = utilisation.numerator, utilisation.denominator
    return TokenRates(
        round_half_even(rates.input_nusd_per_mtok * bottom, top),
        round_half_even(rates.output_nusd_per_mtok * bottom, top),
    )


def period_nusd(hour_nusd: int, period_us: int) -> int:
    """What a period of the engine cost."""
    return round_half_even(hour_nusd * period_us, HOUR_US)


def break_even(hour_nusd: int, effort: Effort, api: TokenRates, call: tuple[int, int]) -> BreakEven:
    """Compare with an API's rates for calls of so many prompt and completion tokens each."""
    each_nusd = api.cost_nusd(*call)
    each_us = max(effort.busy_us(*call), 1)
    capacity = HOUR_US // each_us
    if each_nusd == 0:
        return BreakEven(None, capacity, 0, reachable=False, utilisation=None)
    calls = -(-hour_nusd // each_nusd)
    return BreakEven(calls, capacity, each_nusd, reachable=calls <= capacity, utilisation=calls * each_us / HOUR_US)


def _effort(prompt_s: float, completion_s: float, method: str) -> Effort:
    """Seconds per token as whole microseconds per million: a picosecond of machine time is the least there is."""
    return Effort(round(prompt_s * 10**12), round(completion_s * 10**12), method)


def _differ(rates: Sequence[tuple[float, float]]) -> bool:
    shares = [prompt / (prompt + completion) for prompt, completion in rates]
    return max(shares) - min(shares) > _DISTINCT


def _solve(rates: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Seconds per prompt and completion token with ``a·p + b·c ≈ 1`` for all; None when one would be negative."""
    pp = sum(p * p for p, _ in rates)
    cc = sum(c * c for _, c in rates)
    pc = sum(p * c for p, c in rates)
    p1, c1 = sum(p for p, _ in rates), sum(c for _, c in rates)
    determinant = pp * cc - pc * pc
    if determinant <= 1e-9 * pp * cc:
        return None
    prompt_s, completion_s = (p1 * cc - c1 * pc) / determinant, (c1 * pp - p1 * pc) / determinant
    return (prompt_s, completion_s) if prompt_s > 0 and completion_s > 0 else None
