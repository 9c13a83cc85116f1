from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from backend.engine.stages import Spread, Stage
from backend.engine.trial import Figures, find_broken, price_nusd, read_stage
from backend.settings.knobs import EngineSettings, EngineSpec

SPEC = EngineSpec(name="small", model="m", usd_per_gpu_hour=Decimal("3.6"), tensor_parallel=2)
KNOBS = EngineSettings(slo_ttft_p95_ms=200, slo_itl_p95_ms=50, slo_error_rate=0.01)
GOOD = Figures(16, 0.0, 100.0, 50.0, 100.0, 20.0, None)


def stage(**changes: Any) -> Stage:
    fixed: dict[str, Any] = {"calls": 4, "failed": 1, "seconds": 2.0, "calls_per_s": 2.0, "goodput_per_s": 2.0}
    rates = {"prompt_tokens_per_s": 50.0, "completion_tokens_per_s": 1000.0}
    return Stage(concurrency=2, shape="48:32", **(fixed | rates | changes))


def test_figures_are_those_of_the_load() -> None:
    figures = read_stage(stage(ttft=Spread(100, 300, 400), itl=Spread(10, 20, 30)), SPEC)
    assert figures == Figures(4, 0.25, 1000.0, 100, 300, 20, 2_000_000_000)


def test_a_load_without_an_answer_has_no_figures_rather_than_zeros() -> None:
    figures = read_stage(stage(failed=4, completion_tokens_per_s=0.0), SPEC)
    assert figures == Figures(4, 1.0, None, None, None, None, None)


def test_tokens_are_priced_by_the_gpus_they_kept_busy() -> None:
    """Two GPUs at $3.60 an hour are $0.002 a second; 1,000 tokens in it make $2 per million."""
    assert price_nusd(SPEC, 1000.0) == 2_000_000_000
    assert price_nusd(SPEC, 0.0) is None
    assert price_nusd(SPEC.model_copy(update={"usd_per_gpu_hour": None}), 1000.0) is None


@pytest.mark.parametrize(
    ("before", "after", "broken"),
    [
        (GOOD, GOOD, ""),
        (GOOD, replace(GOOD, ttft_p95_ms=199.0), ""),
        (GOOD, replace(GOOD, ttft_p95_ms=201.0), "TTFT p95 ms 201 is above 200 (was 100)"),
        (GOOD, replace(GOOD, itl_p95_ms=60.0), "ITL p95 ms 60 is above 50 (was 20)"),
        (GOOD, replace(GOOD, error_rate=0.5), "errors 0.5 is above 0.01 (was 0)"),
        (
            replace(GOOD, ttft_p95_ms=None),
            replace(GOOD, ttft_p95_ms=201.0),
            "TTFT p95 ms 201 is above 200 (was unknown)",
        ),
        (replace(GOOD, ttft_p95_ms=400.0), replace(GOOD, ttft_p95_ms=420.0), ""),
        (replace(GOOD, ttft_p95_ms=400.0), replace(GOOD, ttft_p95_ms=500.0), "TTFT p95 ms 500 is above 200 (was 400)"),
        (GOOD, replace(GOOD, ttft_p95_ms=None, itl_p95_ms=None), ""),
    ],
)
def test_a_target_breaks_when_it_is_missed_that_was_kept_or_missed_by_less(
    before: Figures, after: Figures, broken: str
) -> None:
    assert find_broken(before, after, KNOBS) == broken
