"""Which variant an engine serves: what its specification and its model's configuration say of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from backend.engine.weights import Variant, Weights, read_config, read_weights, variant_of, variant_of_folder
from backend.settings.knobs import EngineSpec
from tests.engine.known_models import KNOWN

LLAMA = KNOWN["Llama-3.1-8B"][1]
BF16_BYTES = 16_060_522_496


def packed(kind: str) -> dict[str, Any]:
    return {"quantization_config": {"quant_method": "compressed-tensors", "format": kind}}


def write_config(folder: Path, **stated: Any) -> Path:
    (folder / "config.json").write_bytes(orjson.dumps({**LLAMA, "dtype": "bfloat16", **stated}))
    return folder


@pytest.mark.parametrize(
    ("stated", "knobs", "precision"),
    [
        ({}, {}, "bf16"),
        ({"dtype": None, "torch_dtype": "float16"}, {}, "fp16"),
        ({"dtype": "float32"}, {}, "bf16"),
        ({"dtype": "float32"}, {"dtype": "float32"}, "fp32"),
        ({}, {"quantisation": "fp8"}, "fp8"),
        ({}, {"quantisation": "int8"}, "int8"),
        (packed("pack-quantized"), {}, "w4a16"),
        (packed("int-quantized"), {"quantisation": "compressed-tensors"}, "w8a8"),
        (packed("float-quantized"), {}, "fp8"),
        ({"quantization_config": {"quant_method": "awq"}}, {}, "awq"),
        ({"quantization_config": {"quant_method": "gptq"}}, {}, "gptq"),
    ],
)
def test_how_weights_are_kept_is_read_from_both(
    tmp_path: Path, stated: dict[str, Any], knobs: dict[str, Any], precision: str
) -> None:
    spec = EngineSpec(name="local", model=str(write_config(tmp_path, **stated)), **knobs)
    found = read_weights(variant_of(spec))
    assert found.precision == precision
    assert found.size_bytes is not None
    share = found.size_bytes / BF16_BYTES
    bounds = {"bf16": (1, 1), "fp16": (1, 1), "fp32": (2, 2)}.get(precision, (0.3, 0.6))
    assert bounds[0] <= share <= bounds[1]


def test_what_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    assert read_weights(Variant("org/model")) == Weights(None, None)
    assert read_weights(Variant("org/model", "awq")) == Weights("awq", None)
    assert read_weights(Variant("org/model", "compressed-tensors")) == Weights(None, None)
    assert read_weights(Variant("org/model", dtype="float16")) == Weights("fp16", None)
    strange = write_config(tmp_path, model_type="mamba")
    assert read_weights(Variant(str(strange))) == Weights("bf16", None)
    assert read_weights(Variant(str(write_config(tmp_path, **packed("sparse"))))) == Weights(None, None)


@pytest.mark.parametrize(
    "nonsense", [{"num_attention_heads": 0, "head_dim": None}, {"text_config": "x", "model_type": None}]
)
def test_sizes_that_make_no_sense_leave_the_bytes_unknown(tmp_path: Path, nonsense: dict[str, Any]) -> None:
    assert read_weights(Variant(str(write_config(tmp_path, **nonsense)))) == Weights("bf16", None)


@pytest.mark.parametrize("text", ["", "[1]", "{no json"])
def test_a_configuration_that_makes_no_sense_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert read_config(str(tmp_path)) == text
    assert read_weights(Variant(str(tmp_path))) == Weights(None, None)


def test_a_folder_is_scored_in_the_type_it_states(tmp_path: Path) -> None:
    variant = variant_of_folder(write_config(tmp_path, dtype="float32"))
    assert variant == Variant(str(tmp_path), dtype="float32")
    assert read_weights(variant) == Weights("fp32", 2 * BF16_BYTES)
