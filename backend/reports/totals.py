"""Sums over calls as one value: counts, tokens and money, with what is unknown kept apart from zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from db.rollup_reads import Sums

NOT_HIT_KINDS = ("", "miss", "bypass", "coalesced")
"""Answers that an upstream gave (a coalesced call waited for one)."""

LEVERS: Mapping[str, str] = {
    "saved_cache_nusd": "Cache",
    "saved_routing_nusd": "Routing",
    "saved_compression_nusd": "Compression",
    "saved_prefix_nusd": "Prefix cache",
    "saved_batch_nusd": "Batch",
}
"""What saved money, by column."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over closed calls; money in nano-dollars over the priced calls only (``unpriced`` says how many are not)."""

    calls: int = 0
    failed: int = 0
    refused: int = 0
    cancelled: int = 0
    unpriced: int = 0
    estimated: int = 0
    cache_hits: int = 0
    cache_lookups: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nusd: int = 0
    baseline_nusd: int = 0
    saved_nusd: int = 0
    saved_cache_nusd: int = 0
    saved_routing_nusd: int = 0
    saved_compression_nusd: int = 0
    saved_prefix_nusd: int = 0
    saved_batch_nusd: int = 0

    @property
    def spend_nusd(self) -> int | None:
        """What the calls cost; none when there were calls and not one has a price."""
        return None if self.calls and self.unpriced == self.calls else self.cost_nusd

    @property
    def error_rate(self) -> float | None:
        """Share of calls that failed; none without calls."""
        return self.failed / self.calls if self.calls else None

    @property
    def hit_rate(self) -> float | None:
        """Share of hits among the calls that asked our cache (a bypass did not); none when none asked."""
        return self.cache_hits / self.cache_lookups if self.cache_lookups else None

    @property
    def per_1k_calls_nusd(self) -> int | None:
        """Cost of a thousand priced calls; none without one."""
        priced = self.calls - self.unpriced
        return self.cost_nusd * 1000 // priced if priced else None


MEASURE_NAMES = tuple(field.name for field in fields(Totals))


def total_of(rows: Iterable[Sums]) -> Totals:
    """The sum over groups."""
    sums = dict.fromkeys(MEASURE_NAMES, 0)
    for row in rows:
        for name, value in row.measures.items():
            sums[name] += value
    return Totals(**sums)


def totals_by(rows: Iterable[Sums], position: int | None = None) -> dict[int | str, Totals]:
    """Sums per dimension value at ``position``, or per bucket start when there is none."""
    groups: dict[int | str, list[Sums]] = {}
    for row in rows:
        key = (row.at or 0) if position is None else row.values[position]
        groups.setdefault(key, []).append(row)
    return {key: total_of(group) for key, group in groups.items()}
