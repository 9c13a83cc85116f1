"""What an own engine's tokens cost: at the margin, amortised over each period, beside an API for the same calls.

Calls keep the price they were settled at. What a period really cost (its hours times the price of an hour) stands
beside that as an adjustment; a person may put it on record, and set the price of calls to come.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from backend.engine.price import (
    BreakEven,
    Effort,
    Served,
    TokenRates,
    break_even,
    hourly_nusd,
    period_nusd,
    rates_amortised,
    rates_at_margin,
    utilisation_of,
)
from backend.pricing.prices import PriceBook
from backend.reports.engine_sweeps import read_sweeps
from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from backend.settings.knobs import EngineSpec
from db.bounded import Connection
from db.engine_samples import read_sample_times
from db.prices import load_prices
from db.rollup_reads import Grouping, Sums, read_sums

__all__ = ["ApiComparison", "BreakEven", "Effort", "EnginePrice", "PricedPeriod", "TokenRates", "read_engine_price"]

GAP_MS = 60_000
"""Readings farther apart than this mean that the engine did not run in between."""
_MEASURES = ("calls", "unpriced", "prompt_tokens", "completion_tokens", "cost_nusd")


@dataclass(frozen=True, slots=True)
class PricedPeriod:
    """One period of an engine; money in nano-dollars, None where unknown."""

    start_at: int
    up_ms: int
    """How long it ran, as far as its readings say."""
    calls: int
    prompt_tokens: int
    completion_tokens: int
    settled_nusd: int
    """What its priced calls were settled at."""
    unpriced: int
    paid_nusd: int | None
    """What the engine cost while it ran."""
    rates: TokenRates | None
    """Amortised over this period."""
    utilisation: float | None

    @property
    def adjustment_nusd(self) -> int | None:
        """What its calls cost more (or, negative, less) than they were settled at."""
        return None if self.paid_nusd is None else self.paid_nusd - self.settled_nusd


@dataclass(frozen=True, slots=True)
class ApiComparison:
    """An API beside the engine, for calls as they were over the range."""

    model: str
    rates: TokenRates
    same_traffic_nusd: int
    break_even: BreakEven


@dataclass(frozen=True, slots=True)
class EnginePrice:
    """Everything about what an engine costs over a range; ``missing`` says what would be needed for more."""

    hour_nusd: int | None
    effort: Effort | None
    margin: TokenRates | None
    amortised: TokenRates | None
    periods: tuple[PricedPeriod, ...]
    total: PricedPeriod
    apis: tuple[ApiComparison, ...]
    missing: tuple[str, ...]


def read_engine_price(ledger: Ledger, scope: Scope, spec: EngineSpec, against: Sequence[str] = ()) -> EnginePrice:
    """Price an engine over a range, per bucket of it and as a whole, beside the list prices of these API models."""
    with ledger.read() as connection:
        times = read_sample_times(connection, spec.name, scope.start_at, scope.end_at)
        sums = _read_sums(connection, scope, spec)
        book = PriceBook(load_prices(connection)) if against else None
    effort = next((each.effort for each in read_sweeps(ledger, spec.name) if each.effort), None)
    hour = None if spec.usd_per_gpu_hour is None else hourly_nusd(spec.usd_per_gpu_hour, spec.gpus)
    by_start = {each.at or scope.start_at: each for each in sums}
    terms = (hour, effort)
    periods = tuple(
        _price_period((start, start + scope.bucket_ms), by_start.get(start), times, terms) for start in scope.buckets
    )
    total = _add_up(scope.start_at, periods, terms)
    apis = tuple(_compare(book, model, total, terms) for model in against) if book else ()
    return EnginePrice(
        hour_nusd=hour,
        effort=effort,
        margin=rates_at_margin(hour, effort) if hour is not None and effort else None,
        amortised=total.rates,
        periods=tuple(each for each in periods if each.calls or each.up_ms),
        total=total,
        apis=tuple(each for each in apis if each),
        missing=_find_missing(hour, effort, total, [m for m, a in zip(against, apis, strict=False) if a is None]),
    )


_Terms = tuple[int | None, Effort | None]


def up_within(times: Sequence[int], start_at: int, end_at: int) -> int:
    """Milliseconds of a range between readings that are close to each other."""
    pairs = itertools.pairwise(times)
    return sum(
        max(min(later, end_at) - max(earlier, start_at), 0) for earlier, later in pairs if later - earlier <= GAP_MS
    )


def _read_sums(connection: Connection, scope: Scope, spec: EngineSpec) -> Sequence[Sums]:
    """What the engine itself answered: a hit or a shared answer bears its name, but took none of its time."""
    own = scope.narrowed("deployment", spec.name, *(f"{spec.name}-{each.name}" for each in spec.lora_modules))
    asked = own.narrowed("cache_kind", "miss", "bypass")
    return read_sums(connection, asked.window, Grouping((), scope.bucket_ms, _MEASURES))


def _price_period(span: tuple[int, int], sums: Sums | None, times: Sequence[int], terms: _Terms) -> PricedPeriod:
    found = sums.measures if sums else dict.fromkeys(_MEASURES, 0)
    return _period(span[0], up_within(times, *span), [found[name] for name in _MEASURES], terms)


def _add_up(start_at: int, periods: Sequence[PricedPeriod], terms: _Terms) -> PricedPeriod:
    names = ("calls", "unpriced", "prompt_tokens", "completion_tokens", "settled_nusd")
    return _period(
        start_at,
        sum(each.up_ms for each in periods),
        [sum(getattr(each, name) for each in periods) for name in names],
        terms,
    )


def _period(start_at: int, up_ms: int, measures: Sequence[int], terms: _Terms) -> PricedPeriod:
    calls, unpriced, prompts, completions, settled = measures
    hour, effort = terms
    served = Served(prompts, completions, up_ms * 1000)
    utilisation: Fraction | None = utilisation_of(effort, served) if effort else None
    return PricedPeriod(
        start_at=start_at,
        up_ms=up_ms,
        calls=calls,
        prompt_tokens=prompts,
        completion_tokens=completions,
        settled_nusd=settled,
        unpriced=unpriced,
        paid_nusd=None if hour is None else period_nusd(hour, up_ms * 1000),
        rates=rates_amortised(hour, effort, served) if hour is not None and effort else None,
        utilisation=None if utilisation is None else float(utilisation),
    )


def _compare(book: PriceBook | None, model: str, total: PricedPeriod, terms: _Terms) -> ApiComparison | None:
    hour, effort = terms
    price = book.price_at(model, None, time.time_ns() // 1_000_000) if book else None
    if price is None or hour is None or effort is None or not total.calls:
        return None
    first, second = price.rates.input_nusd_per_mtok, price.rates.output_nusd_per_mtok
    if first is None or second is None:
        return None
    rates = TokenRates(first, second)
    call = (max(total.prompt_tokens // total.calls, 1), max(total.completion_tokens // total.calls, 1))
    same = rates.cost_nusd(total.prompt_tokens, total.completion_tokens)
    return ApiComparison(model, rates, same, break_even(hour, effort, rates, call))


def _find_missing(
    hour: int | None, effort: Effort | None, total: PricedPeriod, unknown: Sequence[str]
) -> tuple[str, ...]:
    checks = [
        (hour is None, "usd_per_gpu_hour of the engine"),
        (effort is None, "a sweep of the engine"),
        (not total.up_ms, "readings of the engine within the range"),
        (not total.calls, "calls within the range"),
    ]
    named = [f"a price of {model}" for model in unknown] if hour is not None and effort and total.calls else []
    return (*(said for wanted, said in checks if wanted), *named)
