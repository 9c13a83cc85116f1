"""A real vLLM with every kind of weights and of guessing that its CPU build knows: a start each, the long form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.engine.health import generate_token
from backend.engine.scrape import take_reading
from backend.engine.scratch import launched
from backend.engine.trial import measure
from backend.settings.knobs import EngineSpec
from tests.contract.test_engine import PATIENCE_S, PYTHON, SPEC, make_models

NGRAM: dict[str, Any] = {"method": "ngram", "tokens": 3}

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment with vLLM; `make engine` makes one"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, long_form: None) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_models(folder, "bf16", "draft", "w4a16", "w8a8")
    return folder


@pytest.mark.parametrize(
    ("weights", "speculation", "knobs"),
    [
        ("w8a8", {}, {}),
        ("w8a8", NGRAM, {"prefix_caching": False}),
        ("w4a16", NGRAM, {"max_num_batched_tokens": 512}),
        ("bf16", {"method": "draft", "tokens": 2}, {"dtype": "float32"}),
    ],
)
def test_a_variant_starts_and_answers(
    models: Path, tmp_path: Path, weights: str, speculation: dict[str, Any], knobs: dict[str, Any]
) -> None:
    if speculation.get("method") == "draft":
        speculation = speculation | {"draft_model": str(models / "draft")}
    spec = EngineSpec(**(SPEC | {"model": str(models / weights), "speculation": speculation} | knobs))
    with launched(spec, tmp_path, within_s=PATIENCE_S) as place:
        assert generate_token(place, 60) > 0
        figures = measure(place, spec, 2.0)
        assert (figures.error_rate, (figures.tokens_per_s or 0) > 0) == (0.0, True)
        assert (take_reading(place.url).counters.get("drafts", 0) > 0) == bool(speculation)
