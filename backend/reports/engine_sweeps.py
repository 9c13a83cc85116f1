"""Sweeps of engines as a page and the command line show them: the list, one curve, several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pandas as pd

from backend.engine.price import Effort, TokenRates, hourly_nusd, rates_at_margin
from backend.engine.shapes import read_shape
from backend.engine.sweep import Plan, Scene, read_plan
from backend.engine.weights import Variant
from backend.reports.ledger import Ledger
from backend.settings.knobs import EngineSpec
from db.sweeps import SweepRow, list_sweeps, read_sweep

__all__ = ["CURVE", "Plan", "Scene", "Sweep", "compare_sweeps", "read_one_sweep", "read_shape", "read_sweeps"]

CURVE = (
    "concurrency",
    "shape",
    "max_num_seqs",
    "calls",
    "failed",
    "calls_per_s",
    "goodput_per_s",
    "prompt_tokens_per_s",
    "completion_tokens_per_s",
    "ttft_p50_ms",
    "ttft_p95_ms",
    "ttft_p99_ms",
    "itl_p50_ms",
    "itl_p95_ms",
    "itl_p99_ms",
    "total_p50_ms",
    "total_p95_ms",
    "total_p99_ms",
    "acceptance",
    "prefix_hit_rate",
    "preemptions",
    "sweet",
)
"""Columns of a curve: one row for each load, ``sweet`` marks where to run."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep with what it measured so far; ``sweet`` is the row of ``curve`` to run at, None and ``reason`` if none.

    ``effort`` is the machine time per token it showed, ``variant`` what the engine served; None while unknown.
    """

    row: SweepRow
    plan: Plan | None
    curve: pd.DataFrame
    sweet: int | None
    reason: str
    effort: Effort | None
    slo: dict[str, float]
    variant: Variant | None = None

    @property
    def is_running(self) -> bool:
        """Whether it still changes."""
        return self.row.state in {"queued", "running"}

    def rates(self, spec: EngineSpec) -> TokenRates | None:
        """What a token costs at the margin, in nano-dollars; None without a price per hour or an effort."""
        if spec.usd_per_gpu_hour is None or self.effort is None:
            return None
        return rates_at_margin(hourly_nusd(spec.usd_per_gpu_hour, spec.gpus), self.effort)


def read_sweeps(ledger: Ledger, engine: str | None = None, limit: int = 20) -> tuple[Sweep, ...]:
    """Sweeps newest first, of one engine or of all."""
    with ledger.read() as connection:
        rows = list_sweeps(connection, limit=limit, engine=engine)
    return tuple(_read(row) for row in rows)


def read_one_sweep(ledger: Ledger, sweep_id: str) -> Sweep | None:
    """One sweep; None without it."""
    with ledger.read() as connection:
        row = read_sweep(connection, sweep_id)
    return None if row is None else _read(row)


def compare_sweeps(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """The curves below each other, with ``sweep`` (its id) and ``engine`` before them; loads of one kind line up."""
    frames = [sweep.curve.assign(sweep=sweep.row.id, engine=sweep.row.engine) for sweep in sweeps]
    columns = ["sweep", "engine", *CURVE]
    filled = [frame for frame in frames if not frame.empty]
    if not filled:
        return pd.DataFrame(columns=columns)
    return pd.concat(filled, ignore_index=True)[columns]


def _read(row: SweepRow) -> Sweep:
    results: dict[str, Any] = orjson.loads(row.results or "{}")
    spot = results.get("sweet_spot") or {"place": None, "reason": "nothing was measured yet"}
    lines = [_line(stage, place == spot["place"]) for place, stage in enumerate(results.get("stages") or ())]
    effort, variant = results.get("effort"), results.get("variant")
    return Sweep(
        row=row,
        plan=_plan_of(row),
        curve=pd.DataFrame(lines, columns=list(CURVE)),
        sweet=spot["place"],
        reason=spot["reason"],
        effort=Effort(**effort) if effort else None,
        slo=results.get("slo") or {},
        variant=Variant(**variant) if variant else None,
    )


def _line(stage: dict[str, Any], sweet: bool) -> dict[str, Any]:  # noqa: FBT001 - a column of the row
    seen = stage.get("seen") or {}
    spreads = {
        f"{name}_{each}_ms": (stage.get(name) or {}).get(f"{each}_ms")
        for name in ("ttft", "itl", "total")
        for each in ("p50", "p95", "p99")
    }
    said = {name: seen.get(name) for name in ("acceptance", "prefix_hit_rate", "preemptions")}
    return {name: stage.get(name) for name in CURVE} | spreads | said | {"sweet": sweet}


def _plan_of(row: SweepRow) -> Plan | None:
    try:
        return read_plan(row.plan)
    except ValueError:
        return None
