"""What our caches saved: hits by kind, money net of what the caches cost themselves, tokens, and time not waited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from backend.reports.overview import LONGEST_BY_CALL_MS, Kpi, Kpis, Unit, Value
from backend.reports.percentiles import percentiles_of
from backend.reports.spend import OverTime
from backend.reports.totals import MEASURE_NAMES, Totals, total_of
from db.bounded import Connection
from db.cache_reads import sum_verified
from db.call_reads import read_first_at
from db.rollup_reads import Grouping, latency_source_of, read_latency, read_sums, source_of
from db.windows import Window

KINDS = ("exact", "semantic", "coalesced")
"""Answers that took no upstream call of their own, in the order of the layers."""

_NOBODYS = {"user", "key_id", "feature", "department"}
"""What calls have that Governor makes for itself: none of these."""

_PAID_BY = {"embedding": "embedding_nusd", "judge": "judge_nusd", "warmup": "prefetch_nusd"}
"""Origins of calls that Governor makes for its caches, and where their cost is shown."""

_MEASURES = ("calls", "cache_lookups", "prompt_tokens", "completion_tokens", "cost_nusd", "saved_cache_nusd")


@dataclass(frozen=True, slots=True)
class CacheCosts:
    """What the caches cost in a range, in nano-dollars: calls of Governor's own, and would-be hits answered fresh."""

    embedding_nusd: int = 0
    """Questions embedded by a provider."""
    judge_nusd: int = 0
    """Answers put to the judge."""
    prefetch_nusd: int = 0
    """Entries asked for again before they expired."""
    fresh_nusd: int = 0
    verified: int = 0
    """Would-be hits answered fresh to be compared, and their cost as ``fresh_nusd``."""

    @property
    def verification_nusd(self) -> int:
        """What it costs to know how often hits are wrong."""
        return self.fresh_nusd + self.judge_nusd

    @property
    def total_nusd(self) -> int:
        """All of it."""
        return self.embedding_nusd + self.verification_nusd + self.prefetch_nusd


@dataclass(frozen=True, slots=True)
class CacheSavings:
    """The figures of the page (with their course and the period before) and what is behind the money."""

    kpis: Kpis
    costs: CacheCosts
    saved_by: Mapping[str, int]
    """Nano-dollars saved per kind, before costs."""
    hits_by: Mapping[str, int]
    lookups: int


@dataclass(frozen=True, slots=True)
class _Period:
    kinds: Mapping[str, Totals]
    costs: CacheCosts
    saved_ms: float | None

    @property
    def lookups(self) -> int:
        return sum(each.cache_lookups for each in self.kinds.values())

    def of(self, kind: str) -> Totals:
        return self.kinds.get(kind, Totals())

    def rate(self, kind: str) -> float | None:
        return self.of(kind).calls / self.lookups if self.lookups else None

    @property
    def net_nusd(self) -> int:
        return sum(self.of(kind).saved_cache_nusd for kind in KINDS) - self.costs.total_nusd

    @property
    def tokens(self) -> int:
        return sum(self.of(kind).prompt_tokens + self.of(kind).completion_tokens for kind in KINDS)


_FIGURES: tuple[tuple[str, str, Unit, Callable[[_Period], Value]], ...] = (
    ("exact", "Exact hits", "share", lambda period: period.rate("exact")),
    ("semantic", "Semantic hits", "share", lambda period: period.rate("semantic")),
    ("coalesced", "Coalesced", "share", lambda period: period.rate("coalesced")),
    ("net", "Money saved", "nusd", lambda period: period.net_nusd),
    ("tokens", "Tokens saved", "tokens", lambda period: period.tokens),
    ("time", "Waiting saved", "ms", lambda period: period.saved_ms),
)


def read_savings(ledger: Ledger, scope: Scope) -> CacheSavings:
    """Every figure over the range, per bucket, and over the period before.

    Waiting saved is an estimate: hits times the median time of a miss beyond the hit's own. It is none where only the
    calls know times and the range is beyond a day.
    """
    with ledger.read() as connection:
        buckets = _read(connection, scope.window, scope.bucket_ms)
        whole = _merge(buckets.values())
        before = _read_previous(connection, scope)
        verified, fresh_nusd = sum_verified(connection, scope.window)
    whole = replace(whole, costs=replace(whole.costs, verified=verified, fresh_nusd=fresh_nusd))
    figures = tuple(
        Kpi(
            name,
            title,
            unit,
            of(whole),
            of(before) if before else None,
            tuple(of(buckets.get(at, _EMPTY)) for at in scope.buckets),
            "up",
        )
        for name, title, unit, of in _FIGURES
    )
    source = source_of(scope.window, ("cache_kind",))
    saved_by = {kind: whole.of(kind).saved_cache_nusd for kind in KINDS}
    totals = Totals(calls=sum(each.calls for each in whole.kinds.values()), cache_lookups=whole.lookups)
    kpis = Kpis(figures, scope.buckets, scope.partial_last, totals, saved_by, source)
    return CacheSavings(kpis, whole.costs, saved_by, {kind: whole.of(kind).calls for kind in KINDS}, whole.lookups)


def hit_rates_over_time(ledger: Ledger, scope: Scope) -> OverTime:
    """The share of look-ups that each kind answered, per bucket."""
    with ledger.read() as connection:
        by = Grouping(("cache_kind",), scope.bucket_ms, ("calls", "cache_lookups"))
        rows = read_sums(connection, scope.window, by)
    lookups: dict[int | None, int] = {}
    for row in rows:
        lookups[row.at] = lookups.get(row.at, 0) + row.measures["cache_lookups"]
    hits = {(row.at, row.values[0]): row.measures["calls"] for row in rows}
    groups = tuple(kind for kind in KINDS if any(key[1] == kind for key in hits))
    lines = [
        (at, kind, hits.get((at, kind), 0) / lookups[at] if lookups.get(at) else 0.0)
        for at in scope.buckets
        for kind in groups
    ]
    frame = pd.DataFrame(lines, columns=["at", "group", "value"]).astype({"at": "int64", "value": "float64"})
    return OverTime(frame, groups, 0, source_of(scope.window, ("cache_kind",)))


def _read_previous(connection: Connection, scope: Scope) -> _Period | None:
    """The period before, if the comparison is wanted and the ledger reaches back that far."""
    first_at = read_first_at(connection) if scope.compare else None
    if first_at is None or first_at > scope.previous.start_at + scope.bucket_ms:
        return None
    found = _read(connection, scope.previous, None).get(None)
    if found is None:
        return None
    verified, fresh_nusd = sum_verified(connection, scope.previous)
    return replace(found, costs=replace(found.costs, verified=verified, fresh_nusd=fresh_nusd))


def _merge(periods: Iterable[_Period]) -> _Period:
    """Several buckets as one."""
    each = list(periods)
    kinds: dict[str, list[Totals]] = {}
    for period in each:
        for kind, totals in period.kinds.items():
            kinds.setdefault(kind, []).append(totals)
    summed = {kind: _add(many) for kind, many in kinds.items()}
    times = [period.saved_ms for period in each if period.saved_ms is not None]
    costs = {name: sum(getattr(period.costs, name) for period in each) for name in _PAID_BY.values()}
    return _Period(summed, CacheCosts(**costs), sum(times) if times else None)


def _add(many: list[Totals]) -> Totals:
    return Totals(**{name: sum(getattr(each, name) for each in many) for name in MEASURE_NAMES})


def _read(connection: Connection, window: Window, bucket_ms: int | None) -> dict[int | None, _Period]:
    rows = read_sums(connection, window, Grouping(("cache_kind",), bucket_ms, _MEASURES))
    own = _read_own(connection, window, bucket_ms)
    median_ms, medians = _read_medians(connection, window)
    groups: dict[int | None, dict[str, Totals]] = {}
    for row in rows:
        groups.setdefault(row.at, {})[row.values[0]] = total_of([row])
    found = {}
    for at, kinds in groups.items():
        saved_ms = None
        if median_ms is not None:
            times = {kind: totals.calls * (median_ms - medians.get(kind, 0.0)) for kind, totals in kinds.items()}
            saved_ms = max(0.0, sum(times.get(kind, 0.0) for kind in KINDS))
        found[at] = _Period(kinds, own.get(at, CacheCosts()), saved_ms)
    return found


def _read_own(connection: Connection, window: Window, bucket_ms: int | None) -> dict[int | None, CacheCosts]:
    """What calls of Governor's own cost, where a provider answered them."""
    origins = tuple(origin for origin in _PAID_BY if origin in window.filters.get("origin", (origin,)))
    if not origins or _NOBODYS & window.filters.keys():
        return {}
    own = replace(window, filters={**window.filters, "origin": origins})
    found: dict[int | None, CacheCosts] = {}
    for row in read_sums(connection, own, Grouping(("origin",), bucket_ms, ("cost_nusd",))):
        cost = {_PAID_BY[row.values[0]]: row.measures["cost_nusd"]}
        found[row.at] = replace(found.get(row.at, CacheCosts()), **cost)
    return found


def _read_medians(connection: Connection, window: Window) -> tuple[float | None, dict[str, float]]:
    """The median time of a miss, and that of each kind of hit, in milliseconds."""
    if latency_source_of(window, ("cache_kind",)) == "calls" and window.end_at - window.start_at > LONGEST_BY_CALL_MS:
        return None, {}
    rows = read_latency(connection, window, "latency_ms", Grouping(("cache_kind",)))
    medians = {row.values[0]: percentiles_of(row.counts).p50 or 0.0 for row in rows}
    return medians.pop("miss", None), medians


_EMPTY = _Period({}, CacheCosts(), None)
