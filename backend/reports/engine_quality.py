"""Quality beside speed: what each variant of an engine is worth beside full precision, its speed, its weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from backend.engine.weights import Variant, Weights, read_weights, variant_of
from backend.reports.engine_sweeps import Sweep, read_sweeps
from backend.reports.ledger import Ledger
from backend.settings.knobs import EngineSpec
from db.engine_qualities import EngineQuality, list_latest_qualities, list_qualities

__all__ = ["EngineQuality", "QualityLine", "find_line", "find_now", "read_qualities", "read_quality_lines"]

_MOST = 200
Specs = tuple[EngineSpec, ...]
Key = tuple[str | None, Variant]


@dataclass(frozen=True, slots=True)
class Speed:
    """The best load of its sweeps: a sweet spot where any sweep found one."""

    tokens_per_s: float
    ttft_p95_ms: float | None
    concurrency: int
    shape: str
    swept_at: int
    sweet: bool


@dataclass(frozen=True, slots=True)
class QualityLine:
    """One variant of an engine; ``engine`` None: a folder that nobody serves, ``speed`` None: not swept.

    ``judged`` is the latest comparison that says how good it is, as the variant or as the reference; None without any.
    """

    engine: str | None
    variant: Variant
    weights: Weights
    judged: EngineQuality | None
    is_reference: bool
    speed: Speed | None

    @property
    def perplexity(self) -> float | None:
        """On the text of the comparison."""
        if self.judged is None:
            return None
        return self.judged.reference_perplexity if self.is_reference else self.judged.perplexity

    @property
    def perplexity_ratio(self) -> float | None:
        """How many times as perplexed as its reference; None for the reference itself."""
        return None if self.judged is None or self.is_reference else self.judged.perplexity_ratio

    @property
    def agreement(self) -> float | None:
        """Share of tokens on which both think the same likeliest; None for the reference itself."""
        return None if self.judged is None or self.is_reference else self.judged.agreement

    @property
    def weight_share(self) -> float | None:
        """Its weights as a share of the reference's; None for the reference itself, or while either is unknown."""
        full = None if self.judged is None or self.is_reference else self.judged.reference_weight_bytes
        return None if self.weights.size_bytes is None or not full else self.weights.size_bytes / full


def read_qualities(ledger: Ledger, engine: str | None = None, limit: int = 20) -> Sequence[EngineQuality]:
    """Comparisons newest first, of one engine or of all."""
    with ledger.read() as connection:
        return list_qualities(connection, limit=limit, engine=engine)


def read_quality_lines(ledger: Ledger, specs: Specs) -> tuple[QualityLine, ...]:
    """Every variant that was compared, every reference, every engine of the settings; the heaviest weights first."""
    with ledger.read() as connection:
        latest = list_latest_qualities(connection, _MOST)
    speeds = _find_speeds(read_sweeps(ledger, None, _MOST), specs)
    lines = {_key_of(row): _line_of(row, speeds) for row in latest}
    for row in latest:
        lines.setdefault(_key_of_reference(row), _line_of_reference(row, speeds))
    for spec in specs:
        key = (spec.name, variant_of(spec))
        unjudged = QualityLine(*key, read_weights(key[1]), None, is_reference=False, speed=speeds.get(key))
        lines.setdefault(key, unjudged)
    return tuple(sorted(lines.values(), key=_rank))


def find_line(lines: Iterable[QualityLine], sweep: Sweep, specs: Specs) -> QualityLine | None:
    """The line of the variant that a sweep measured."""
    key = _key_of_sweep(sweep, specs)
    return next((line for line in lines if (line.engine, line.variant) == key), None)


def find_now(lines: Iterable[QualityLine], spec: EngineSpec) -> QualityLine | None:
    """The line of what an engine's settings say it serves."""
    key = spec.name, variant_of(spec)
    return next((line for line in lines if (line.engine, line.variant) == key), None)


def _rank(line: QualityLine) -> tuple[bool, bool, int, str]:
    return line.judged is None, not line.is_reference, -(line.weights.size_bytes or 0), line.engine or ""


def _key_of(row: EngineQuality) -> Key:
    return row.engine, Variant(row.model, row.quantisation, row.dtype)


def _line_of(row: EngineQuality, speeds: dict[Key, Speed]) -> QualityLine:
    key, weights = _key_of(row), Weights(row.precision, row.weight_bytes)
    return QualityLine(*key, weights, row, is_reference=False, speed=speeds.get(key))


def _key_of_reference(row: EngineQuality) -> Key:
    return row.reference_engine, Variant(row.reference_model, row.reference_quantisation, row.reference_dtype)


def _line_of_reference(row: EngineQuality, speeds: dict[Key, Speed]) -> QualityLine:
    key, weights = _key_of_reference(row), Weights(row.reference_precision, row.reference_weight_bytes)
    return QualityLine(*key, weights, row, is_reference=True, speed=speeds.get(key))


def _key_of_sweep(sweep: Sweep, specs: Specs) -> Key | None:
    """The engine and what it served; a sweep that does not say is taken for one of what the settings say now."""
    now = next((variant_of(spec) for spec in specs if spec.name == sweep.row.engine), None)
    variant = sweep.variant or now
    return None if variant is None else (sweep.row.engine, variant)


def _find_speeds(sweeps: Iterable[Sweep], specs: Specs) -> dict[Key, Speed]:
    found: dict[Key, Speed] = {}
    for sweep in sweeps:
        key, speed = _key_of_sweep(sweep, specs), _best_of(sweep)
        if key is None or speed is None:
            continue
        known = found.get(key)
        if known is None or (speed.sweet, speed.tokens_per_s) > (known.sweet, known.tokens_per_s):
            found[key] = speed
    return found


def _best_of(sweep: Sweep) -> Speed | None:
    """The sweet spot, else the load with most answer tokens a second; None where nothing was answered."""
    rates = sweep.curve["completion_tokens_per_s"].astype(float)
    if rates.empty or rates.max() <= 0:
        return None
    load = sweep.curve.iloc[int(rates.argmax()) if sweep.sweet is None else sweep.sweet]
    return Speed(
        tokens_per_s=float(load["completion_tokens_per_s"]),
        ttft_p95_ms=None if pd.isna(load["ttft_p95_ms"]) else float(load["ttft_p95_ms"]),
        concurrency=int(load["concurrency"]),
        shape=str(load["shape"]),
        swept_at=sweep.row.created_at,
        sweet=sweep.sweet is not None,
    )
