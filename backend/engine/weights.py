"""Which variant of a model an engine serves: how its weights are kept, and what memory they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from backend.engine.architecture import read_architecture
from backend.engine.memory import Model, weight_bytes
from backend.settings.knobs import EngineSpec

_MOST_BYTES = 1024 * 1024
_BY_TYPE = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
_BY_KNOB = {"awq": "awq", "gptq": "gptq", "fp8": "fp8", "int8": "int8"}
_BY_FORMAT = {"pack-quantized": "w4a16", "int-quantized": "w8a8", "float-quantized": "fp8"}
_PLANNED: Mapping[str, str] = MappingProxyType({"int8": "w8a8"})
"""Ways to keep weights that take the memory of another one the planner knows."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What an engine serves, in the words of its specification: two of one variant answer alike."""

    model: str
    quantisation: str = "none"
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class Weights:
    """How weights are kept (as the memory planner calls it) and their bytes; None where nothing here says so."""

    precision: str | None
    size_bytes: int | None


def variant_of(spec: EngineSpec) -> Variant:
    """The variant that an engine of this specification serves."""
    return Variant(spec.model, spec.quantisation, spec.dtype)


def variant_of_folder(folder: Path) -> Variant:
    """The variant that transformers makes of a folder: of the type its configuration states."""
    stated = _stated_type(_read_document(str(folder)))
    return Variant(str(folder.resolve()), dtype=stated if stated in _BY_TYPE else "auto")


def read_config(model: str) -> str | None:
    """The text of a model folder's ``config.json`` on this machine; None where there is none."""
    path = Path(model) / "config.json"
    try:
        return path.read_text()[:_MOST_BYTES] if path.is_file() else None
    except OSError:
        return None


def read_weights(variant: Variant) -> Weights:
    """The weights of a variant whose model is a folder on this machine; of any other, what the variant itself says."""
    config = _read_document(variant.model)
    precision = _name_precision(variant, config)
    if not config or precision is None:
        return Weights(precision, None)
    try:
        return Weights(precision, weight_bytes(Model(read_architecture(config), _PLANNED.get(precision, precision))))
    except ValueError:
        return Weights(precision, None)


def _read_document(model: str) -> Mapping[str, Any]:
    try:
        document = orjson.loads(read_config(model) or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _name_precision(variant: Variant, config: Mapping[str, Any]) -> str | None:
    if variant.quantisation in _BY_KNOB:
        return _BY_KNOB[variant.quantisation]
    stated = config.get("quantization_config")
    if isinstance(stated, dict):
        return _BY_KNOB.get(str(stated.get("quant_method"))) or _BY_FORMAT.get(str(stated.get("format")))
    if variant.quantisation != "none":
        return None
    if variant.dtype != "auto":
        return _BY_TYPE[variant.dtype]
    kept = _BY_TYPE.get(_stated_type(config))
    return "bf16" if kept == "fp32" else kept  # vLLM itself computes those at 16 bits unless it is told otherwise


def _stated_type(config: Mapping[str, Any]) -> str:
    return str(config.get("dtype") or config.get("torch_dtype"))
