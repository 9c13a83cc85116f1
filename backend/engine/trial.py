"""A short fixed load on one engine, the same before and after a change, and which targets it broke."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from backend.engine.health import Place
from backend.engine.load import Load, run_load
from backend.engine.shapes import Shape
from backend.engine.stages import Slo, Stage, sum_up
from backend.settings.knobs import EngineSettings, EngineSpec

MOST_AT_ONCE = 8
SHAPE = Shape(48, 32)
WARM_UP_S = 1.0
_WORSE = 1.1
"""A figure that missed its target before must be this much worse to count against a change."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a load measured; a figure without any call to stand on is None. Money is nano-dollars."""

    calls: int
    error_rate: float
    tokens_per_s: float | None
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    itl_p95_ms: float | None
    nusd_per_mtok: int | None
    """Per million completion tokens, at this load."""

    def plain(self) -> dict[str, Any]:
        """The figures as plain data."""
        return asdict(self)


def measure(place: Place, spec: EngineSpec, seconds: float) -> Figures:
    """Send the fixed load to an engine for so long, after a warm-up that does not count (blocking)."""
    at_once = min(MOST_AT_ONCE, spec.max_num_seqs)
    warm_up, load = (
        Load(place, (SHAPE,), at_once, spec.server, warm_up_s=0.0, measure_s=each) for each in (WARM_UP_S, seconds)
    )
    asyncio.run(run_load(warm_up))
    return read_stage(sum_up(asyncio.run(run_load(load)), at_once, str(SHAPE), Slo()), spec)


def read_stage(stage: Stage, spec: EngineSpec) -> Figures:
    """Figures of a load as it was summed up."""
    return Figures(
        calls=stage.calls,
        error_rate=stage.failed / stage.calls if stage.calls else 0.0,
        tokens_per_s=stage.completion_tokens_per_s or None,
        ttft_p50_ms=stage.ttft.p50_ms if stage.ttft else None,
        ttft_p95_ms=stage.ttft.p95_ms if stage.ttft else None,
        itl_p95_ms=stage.itl.p95_ms if stage.itl else None,
        nusd_per_mtok=price_nusd(spec, stage.completion_tokens_per_s),
    )


def price_nusd(spec: EngineSpec, tokens_per_s: float) -> int | None:
    """Nano-dollars per million tokens of an engine this fast; None without a price or a token."""
    if spec.usd_per_gpu_hour is None or not tokens_per_s:
        return None
    nusd_per_s = spec.usd_per_gpu_hour * 1_000_000_000 * spec.gpus / 3600
    return round(nusd_per_s * 1_000_000 / Decimal(tokens_per_s))


def find_broken(before: Figures, after: Figures, knobs: EngineSettings) -> str:
    """Which target the engine misses after a change that it kept before, or missed by clearly less; empty when none."""
    targets: Sequence[tuple[str, str, float]] = (
        ("error_rate", "errors", knobs.slo_error_rate),
        ("ttft_p95_ms", "TTFT p95 ms", knobs.slo_ttft_p95_ms),
        ("itl_p95_ms", "ITL p95 ms", knobs.slo_itl_p95_ms),
    )
    found = []
    for name, title, target in targets:
        old, new = getattr(before, name), getattr(after, name)
        if new is not None and new > target and (old is None or old <= target or new > old * _WORSE):
            found.append(f"{title} {new:g} is above {target:g} (was {'unknown' if old is None else f'{old:g}'})")
    return "; ".join(found)
