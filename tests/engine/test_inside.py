"""The scripts that run in the engine's environment, on a tiny model: quantised with calibration, timed, scored."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from backend.engine.quality import INSIDE, compare_scores, score_unserved
from tests.sources import ROOT

PYTHON = ROOT / ".venv-engine" / "bin" / "python"
TEXT = ROOT / "README.md"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment with vLLM; `make engine` makes one"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([PYTHON, ROOT / "tests/tiny_models.py", folder, "bf16"], check=True, capture_output=True)
    return folder / "bf16"


def run(script: str, *arguments: str | Path) -> list[dict[str, object]]:
    """Its lines of JSON."""
    command = [str(part) for part in (PYTHON, INSIDE / script, *arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.usefixtures("long_form")
@pytest.mark.parametrize("scheme", ["AWQ", "GPTQ"])
def test_a_calibrated_model_is_smaller_and_nearly_the_same(model: Path, tmp_path: Path, scheme: str) -> None:
    options = ("--scheme", scheme, "--text", TEXT, "--samples", "8", "--length", "64")
    told = run("quantise.py", model, tmp_path / "out", *options)
    assert told[0] == {"stage": "loading", "done": 0, "total": 1}
    assert told[-1]["stage"] == "done"
    assert len({str(line["stage"]) for line in told}) > 3
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    sizes = [sum(path.stat().st_size for path in each.glob("*.safetensors")) for each in (model, tmp_path / "out")]
    assert sizes[1] < sizes[0] * 0.6
    rows = [[number % 1900 + 100 for number in range(start, start + 40)] for start in range(0, 400, 100)]
    found = compare_scores(
        score_unserved(str(model), rows, PYTHON), score_unserved(str(tmp_path / "out"), rows, PYTHON)
    )
    assert found.perplexity_ratio == pytest.approx(1, abs=0.1)
    assert 0 < found.mean_difference < 0.5
    assert 0.05 < found.agreement < 1  # random weights leave many words nearly as likely as the best; chance is 1/2048


def test_generate_is_timed_for_every_batch_size(model: Path) -> None:
    told = run("generate.py", model, "--batch", "1", "--batch", "4", "--calls", "4", "--shape", "8:4")
    assert [line["batch"] for line in told] == [1, 4]
    assert all(isinstance(line["tokens_per_s"], float) and line["tokens_per_s"] > 0 for line in told)


def test_a_scheme_that_needs_a_text_says_so(model: Path, tmp_path: Path) -> None:
    command = [str(part) for part in (PYTHON, INSIDE / "quantise.py", model, tmp_path / "out", "--scheme", "GPTQ")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "GPTQ needs a text file to calibrate on"
