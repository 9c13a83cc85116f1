"""What needs a look: calls without a price, failing deployments, records set aside, a drain that is behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from backend.reports.status import Freshness, read_freshness
from db.rollup_reads import Grouping, Sums, read_sums

ERROR_RATE = 0.05
LEAST_FAILED = 5
LAG_MS = 30_000


@dataclass(frozen=True, slots=True)
class Attention:
    """One thing to look at; ``filters`` narrow the list of calls to the calls behind it."""

    kind: Literal["unpriced", "errors", "quarantine", "lag", "simulated"]
    severity: Literal["high", "medium", "low"]
    title: str
    detail: str
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_attention(ledger: Ledger, scope: Scope, now_at: int | None = None) -> tuple[Attention, ...]:
    """What needs a look in this range, the most severe first; nothing is a good sign."""
    with ledger.read() as connection:
        models = read_sums(connection, scope.window, Grouping(("model",), measures=("calls", "unpriced")))
        deployments = read_sums(connection, scope.window, Grouping(("deployment",), measures=("calls", "failed")))
    found = [*_unpriced(models), *_failing(deployments), *_behind(read_freshness(ledger, now_at))]
    ranks = {"high": 0, "medium": 1, "low": 2}
    return tuple(sorted(found, key=lambda each: ranks[each.severity]))


def _unpriced(rows: list[Sums]) -> list[Attention]:
    without = sorted((row for row in rows if row.measures["unpriced"]), key=lambda row: -row.measures["unpriced"])
    return [
        Attention(
            "unpriced",
            "high",
            f"{row.measures['unpriced']:,} unpriced calls of {row.values[0] or 'an unknown model'}",
            "Their cost is unknown and in no total. Give the model a price.",
            {"model": row.values},
        )
        for row in without
    ]


def _failing(rows: list[Sums]) -> list[Attention]:
    failing = [row for row in rows if row.measures["failed"] >= LEAST_FAILED and row.values[0]]
    return [
        Attention(
            "errors",
            "high" if row.measures["failed"] >= row.measures["calls"] * 4 * ERROR_RATE else "medium",
            f"{row.values[0]} fails {row.measures['failed'] / row.measures['calls']:.1%} of its calls",
            f"{row.measures['failed']:,} of {row.measures['calls']:,} calls failed.",
            {"deployment": row.values, "status": ("failed",)},
        )
        for row in failing
        if row.measures["failed"] >= row.measures["calls"] * ERROR_RATE
    ]


def _behind(fresh: Freshness) -> list[Attention]:
    found = []
    if fresh.quarantined:
        title = f"{fresh.quarantined:,} records in quarantine"
        found.append(Attention("quarantine", "high", title, "The ledger could not read them; they are in no total."))
    if fresh.lag_ms > LAG_MS or fresh.drainer_error:
        title = f"The ledger is {fresh.lag_ms / 1000:,.0f} s behind"
        detail = (
            f"{fresh.spool_bytes:,} bytes wait in the spool. {fresh.drainer_error or 'The drainer cannot keep up.'}"
        )
        found.append(Attention("lag", "high", title, detail))
    if fresh.simulated_only:
        title = "Every answer of the last day is simulated"
        found.append(Attention("simulated", "low", title, "Point a deployment at a provider to see real numbers."))
    return found
