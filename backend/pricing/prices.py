"""Prices: rates per bucket, service tier and context length, and the book that finds the one in force."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import orjson

from db.prices import PriceRow

MOST_RATE = 10**15
"""A million dollars per million tokens: beyond it a rate is a mistake."""

TIER_NAMES = {
    **dict.fromkeys(("default", "standard", "auto", "on_demand"), "standard"),
    "batches": "batch",
    "fast": "priority",
}
"""Other words for a service tier."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What one token costs, in nano-dollars per million tokens. ``None``: no rate of its own was published."""

    input_nusd_per_mtok: int | None = None
    cache_read_nusd_per_mtok: int | None = None
    cache_write_5m_nusd_per_mtok: int | None = None
    cache_write_1h_nusd_per_mtok: int | None = None
    output_nusd_per_mtok: int | None = None
    reasoning_nusd_per_mtok: int | None = None
    audio_in_nusd_per_mtok: int | None = None
    audio_out_nusd_per_mtok: int | None = None
    image_in_nusd_per_mtok: int | None = None
    image_out_nusd_per_mtok: int | None = None


SUFFIX = "_nusd_per_mtok"
BUCKETS = tuple(rate.name.removesuffix(SUFFIX) for rate in fields(Rates))
"""The buckets that tokens are billed in."""

RateSteps = tuple[tuple[int, Rates], ...]
"""Rates by prompt length: each holds for the whole call when the prompt has more tokens than its threshold."""


@dataclass(frozen=True, slots=True)
class Price:
    """One price of one model from one moment on; the id is a hash of all of it, so every process names it alike."""

    id: str
    model: str
    provider: str | None
    effective_from: int
    source: str
    standard: RateSteps
    tiers: Mapping[str, RateSteps] = field(default_factory=dict, hash=False)
    """Rates of service tiers: batch, flex, priority and whatever else is published."""
    per_call_nusd: int = 0
    caveats: tuple[str, ...] = ()
    """What is known about this price and not modelled, such as off-peak discounts."""

    @property
    def rates(self) -> Rates:
        """The rates of an ordinary call with a short prompt."""
        return self.standard[0][1]

    def has_tier(self, service_tier: str | None) -> bool:
        """Whether rates are published for this service tier."""
        name = _tier_name(service_tier)
        return name == "standard" or name in self.tiers

    def rates_for(self, prompt_tokens: int, service_tier: str | None = None) -> Rates:
        """The rates of a call of this length; those of an unpublished tier are the standard ones."""
        steps = self.standard
        if service_tier is not None and self.tiers:
            steps = self.tiers.get(_tier_name(service_tier), steps)
        found = steps[0][1]
        for above_tokens, rates in steps[1:]:
            if prompt_tokens <= above_tokens:
                break
            found = rates
        return found


def _tier_name(service_tier: str | None) -> str:
    name = (service_tier or "standard").lower()
    return TIER_NAMES.get(name, name)


def write_rates(document: Mapping[str, Any]) -> str:
    """The canonical text of a rates document, so that equal rates have equal ids."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()


def id_of_price(model: str, provider: str | None, effective_from: int, source: str, rates: str) -> str:
    """The id of a price: a hash of everything that decides what a call costs."""
    content = orjson.dumps([model, provider, effective_from, source, rates])
    return "price-" + hashlib.sha256(content).hexdigest()[:20]


def row_of(
    model: str, provider: str | None, rates: Mapping[str, Any] | None, effective_from: int = 0, source: str = "override"
) -> PriceRow:
    """A row of the price table; ``rates=None`` withdraws an earlier override. Raises ``ValueError`` on bad rates."""
    text = write_rates(rates) if rates is not None else "null"
    row_id = id_of_price(model, provider, effective_from, source, text)
    row = PriceRow(row_id, model, provider, effective_from, source, text, actor=None, reason=None, created_at=0)
    read_row(row)
    return row


def read_row(row: PriceRow) -> Price | None:
    """The price in a row, none for a withdrawn one. Raises ``ValueError`` naming the row when it makes no sense."""
    document = orjson.loads(row.rates)
    if document is None:
        return None
    try:
        return Price(
            id=row.id,
            model=row.model,
            provider=row.provider,
            effective_from=row.effective_from,
            source=row.source,
            standard=_read_steps(document["standard"]),
            tiers={name: _read_steps(steps) for name, steps in document.get("tiers", {}).items()},
            per_call_nusd=_read_rate("per_call", document.get("per_call", 0)),
            caveats=tuple(document.get("caveats", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ValueError(f"price {row.id} of {row.model}: {problem!r}") from problem


def _read_steps(steps: Any) -> RateSteps:
    read = tuple((step.get("above_tokens", 0), _read_rates(step)) for step in steps)
    thresholds = [above for above, _ in read]
    if not read or thresholds[0] != 0 or thresholds != sorted(set(thresholds)):
        raise ValueError(f"thresholds must start at 0 and rise: {thresholds}")
    return read


def _read_rates(step: Mapping[str, Any]) -> Rates:
    unknown = step.keys() - {"above_tokens", *BUCKETS}
    if unknown:
        raise ValueError(f"unknown buckets: {sorted(unknown)}")
    return Rates(**{name + SUFFIX: _read_rate(name, step[name]) for name in BUCKETS if name in step})


def _read_rate(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST_RATE:
        raise ValueError(f"{name} must be whole nano-dollars from 0 to {MOST_RATE}, not {value!r}")
    return value


class _Timeline:
    """The prices of one name from one kind of source, by the moment each takes effect."""

    __slots__ = ("prices", "starts")

    def __init__(self, rows: Iterable[PriceRow]) -> None:
        ordered = sorted(rows, key=lambda row: (row.effective_from, row.created_at, row.id))
        self.starts = tuple(row.effective_from for row in ordered)
        self.prices = tuple(read_row(row) for row in ordered)

    def at(self, at_ms: int) -> Price | None:
        position = bisect_right(self.starts, at_ms)
        return self.prices[position - 1] if position else None


class PriceBook:
    """An immutable snapshot of the price table, in which overrides win. Raises ``ValueError`` on a bad override."""

    MOST_REMEMBERED = 4096

    def __init__(self, rows: Iterable[PriceRow] = ()) -> None:
        self._rows: dict[str, PriceRow] = {}
        self._listed: dict[str, list[PriceRow]] = {}
        self._overrides: dict[str, list[PriceRow]] = {}
        self._remembered: dict[tuple[str, str | None], tuple[_Timeline, ...]] = {}
        for row in rows:
            self._rows[row.id] = row
            if row.source == "litellm":
                self._listed.setdefault(row.model, []).append(row)
            elif row.source != "settings":  # those belong to one deployment and are found by id only
                read_row(row)
                self._overrides.setdefault(_full_name(row.model, row.provider), []).append(row)

    def __len__(self) -> int:
        return len(self._rows)

    def price_at(self, model: str, provider: str | None, at_ms: int) -> Price | None:
        """The price in force at a moment (epoch milliseconds); none when nobody stated one for this model here.

        ``provider/model`` is asked first, then ``model`` alone, which a list price answers only for its own provider.
        """
        timelines = self._remembered.get((model, provider))
        if timelines is None:
            timelines = self._remember(model, provider)
        for timeline in timelines:
            price = timeline.at(at_ms)
            if price is not None:
                return price
        return None

    def price_by_id(self, price_id: str) -> Price | None:
        """The price that a call was billed with, in force or not."""
        row = self._rows.get(price_id)
        return None if row is None else read_row(row)

    def _remember(self, model: str, provider: str | None) -> tuple[_Timeline, ...]:
        names = list(_names(model, provider))
        overrides = [self._overrides[name] for name, _ in names if name in self._overrides]
        listed = [
            [row for row in self._listed[name] if _serves(row, asked)] for name, asked in names if name in self._listed
        ]
        timelines = tuple(_Timeline(rows) for rows in (*overrides, *listed) if rows)
        if len(self._remembered) >= self.MOST_REMEMBERED:  # names may come from callers
            self._remembered.clear()
        self._remembered[model, provider] = timelines
        return timelines


def _full_name(model: str, provider: str | None) -> str:
    return model if provider is None or model.startswith(provider + "/") else f"{provider}/{model}"


def _names(model: str, provider: str | None) -> Iterator[tuple[str, str | None]]:
    """The names a price may be listed under, best first, each with the provider that must be serving it."""
    full = _full_name(model, provider)
    if full != model:
        yield full, None
    yield model, None if model == full and provider else provider
    head, _, tail = model.partition("/")
    if tail and provider in (None, head, "simulated"):
        yield tail, head
    if model.startswith("ft:"):  # ft:gpt-4o-mini-2024-07-18:my-org::id is listed without its owner
        yield ":".join(model.split(":")[:2]), provider


def _serves(row: PriceRow, asked: str | None) -> bool:
    """Whether a list price is one of the asked provider; the simulated one imitates them all."""
    if asked is None or asked == "simulated" or row.provider is None:
        return True
    return row.provider.startswith(asked) or asked.startswith(row.provider) or row.provider.endswith("-" + asked)
