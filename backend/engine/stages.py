"""What one stage of a sweep measured, and which stage is the best place to run at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from backend.engine.load import Call, Run

MARGIN = 0.05
"""Goodput within this share of the best is as good as the best."""


@dataclass(frozen=True, slots=True)
class Slo:
    """What callers are promised; the defaults are those of the knobs."""

    ttft_p95_ms: float = 2000.0
    itl_p95_ms: float = 200.0
    error_rate: float = 0.01


@dataclass(frozen=True, slots=True)
class Spread:
    """Nearest-rank percentiles in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One load, measured; a figure without a call to stand on is None, rates are per second."""

    concurrency: int
    shape: str
    calls: int
    failed: int
    seconds: float
    calls_per_s: float
    goodput_per_s: float
    """Answered calls per second that kept both latency targets themselves."""
    prompt_tokens_per_s: float
    completion_tokens_per_s: float
    ttft: Spread | None = None
    itl: Spread | None = None
    total: Spread | None = None
    error: str | None = None
    """What the first failed call said."""
    max_num_seqs: int | None = None
    seen: Mapping[str, Any] | None = None
    """What the engine's own metrics said meanwhile."""

    @property
    def error_rate(self) -> float:
        """Share of the calls that failed."""
        return self.failed / self.calls if self.calls else 1.0

    def keeps(self, slo: Slo) -> bool:
        """Whether the promise held at this load."""
        ttft_kept = self.ttft is not None and self.ttft.p95_ms <= slo.ttft_p95_ms
        itl_kept = self.itl is None or self.itl.p95_ms <= slo.itl_p95_ms
        return ttft_kept and itl_kept and self.error_rate <= slo.error_rate

    def figures(self) -> dict[str, Any]:
        """As plain data, for storage."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SweetSpot:
    """The stage to run at (its place in the list), or None and why there is none."""

    place: int | None
    reason: str


def sum_up(run: Run, concurrency: int, shape: str, slo: Slo) -> Stage:
    """The figures of one load."""
    counted = run.counted
    seconds = run.end_s - run.start_s
    good = [call for call in counted if call.error is None]
    kept = [call for call in good if _keeps(call, slo)]
    prompts = sum(
        call.prompt_tokens for call in run.calls if call.chunks_s and run.start_s <= call.chunks_s[0] < run.end_s
    )
    completions = sum(call.tokens_within(run.start_s, run.end_s) for call in run.calls)
    finished = [call for call in run.calls if call.error is None and run.start_s <= call.ended_s < run.end_s]
    share = len(kept) / len(good) if good else 0.0
    return Stage(
        concurrency=concurrency,
        shape=shape,
        calls=len(counted),
        failed=len(counted) - len(good),
        seconds=seconds,
        calls_per_s=len(finished) / seconds,
        goodput_per_s=len(finished) * share / seconds,
        prompt_tokens_per_s=prompts / seconds,
        completion_tokens_per_s=completions / seconds,
        ttft=spread_of([call.ttft_ms for call in good]),
        itl=spread_of([call.itl_ms for call in good]),
        total=spread_of([call.total_ms for call in good]),
        error=next((call.error for call in counted if call.error is not None), None),
    )


def spread_of(values: Sequence[float | None]) -> Spread | None:
    """Nearest-rank percentiles of what is known; None of nothing."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    ranks = (max(math.ceil(share * len(known)) - 1, 0) for share in (0.50, 0.95, 0.99))
    return Spread(*(round(known[rank], 3) for rank in ranks))


def find_sweet_spot(stages: Sequence[Stage], slo: Slo, margin: float = MARGIN) -> SweetSpot:
    """Of the stages that keep the promise the one with the highest goodput; the smallest load that is as good.

    Pure: the same stages always give the same place, whatever their order in equal cases.
    """
    keeping = [(place, stage) for place, stage in enumerate(stages) if stage.keeps(slo) and stage.goodput_per_s > 0]
    if not keeping:
        return SweetSpot(None, _why_none(stages, slo))
    best = max(stage.goodput_per_s for _, stage in keeping)
    near = [(place, stage) for place, stage in keeping if stage.goodput_per_s >= best * (1 - margin)]
    place, stage = min(near, key=lambda each: (each[1].concurrency, -each[1].goodput_per_s, each[0]))
    within = "the highest goodput" if stage.goodput_per_s == best else f"within {margin:.0%} of the highest goodput"
    return SweetSpot(
        place, f"{stage.goodput_per_s:.2f} calls/s within the targets at {stage.concurrency} at once: {within}"
    )


def label_stage(stage: Stage, max_num_seqs: int | None, seen: Mapping[str, Any] | None) -> Stage:
    """The stage with the batch it was measured at and what the engine said of itself."""
    return replace(stage, max_num_seqs=max_num_seqs, seen=seen)


def _keeps(call: Call, slo: Slo) -> bool:
    ttft_ms, itl_ms = call.ttft_ms, call.itl_ms
    return ttft_ms is not None and ttft_ms <= slo.ttft_p95_ms and (itl_ms is None or itl_ms <= slo.itl_p95_ms)


def _why_none(stages: Sequence[Stage], slo: Slo) -> str:
    if not stages:
        return "nothing was measured"
    if all(stage.failed == stage.calls for stage in stages):
        return f"every call failed: {stages[0].error}"
    return (
        f"no load kept TTFT p95 ≤ {slo.ttft_p95_ms:g} ms, ITL p95 ≤ {slo.itl_p95_ms:g} ms "
        f"and errors ≤ {slo.error_rate:.1%}"
    )
