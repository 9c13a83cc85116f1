"""Writes the built-in embedder's model: MiniLM's published weights as a graph of fused operators, quantised to int8.

Runs as a program of its own, ``python -m backend.cache.semantic.minilm_graph WEIGHTS TARGET``: what building takes
(half a gigabyte, the packages ``onnx`` and ``onnxruntime.quantization``) is gone when it ends.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

LAYERS = 6
HIDDEN = 384
HEADS = 12
EPSILON = 1e-12
_OPSET = 17
_IR_VERSION = 8

Weights = dict[str, NDArray[np.float32]]


def read_weights(path: Path) -> Weights:
    """The float32 tensors of a safetensors file: eight bytes of length, a JSON header, raw little-endian data."""
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    start = 8 + int.from_bytes(raw[:8].tobytes(), "little")
    header = json.loads(raw[8:start].tobytes())
    return {
        name: raw[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]]
        .view("<f4")
        .reshape(entry["shape"])
        for name, entry in header.items()
        if entry.get("dtype") == "F32"
    }


class _Graph:
    """Nodes and constants as they are added; names of weights are those of the file."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name: str) -> str:
        return self.constant(name, self.weights[name])

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        domain = "" if operator == "MatMul" else "com.microsoft"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def dense(self, name: str, source: str) -> str:
        """Multiplied by a linear layer's weight; its bias is left to the fused operator that follows."""
        kernel = self.constant(f"{name}.weight", self.weights[f"{name}.weight"].T)
        return self.add("MatMul", [source, kernel], f"{name}.product")

    def skip_normalise(self, name: str, source: str, skip: str) -> str:
        """Bias, residual and layer normalisation in one."""
        inputs = [self.dense(f"{name}.dense", source), skip]
        inputs += [self.weight(f"{name}.{part}") for part in ("LayerNorm.weight", "LayerNorm.bias", "dense.bias")]
        return self.add("SkipLayerNormalization", inputs, f"{name}.normalised", epsilon=EPSILON)


def build_graph(weights: Weights) -> ModelProto:
    """The encoder in float32: ``input_ids`` (1, pieces) int32 to ``hidden`` (1, pieces, 384)."""
    graph = _Graph(weights)
    hidden = _embed(graph)
    for layer in range(LAYERS):
        hidden = _encode(graph, f"encoder.layer.{layer}", hidden)
    graph.nodes[-1].output[0] = "hidden"
    source = helper.make_tensor_value_info("input_ids", TensorProto.INT32, [1, "pieces"])
    output = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, "pieces", HIDDEN])
    body = helper.make_graph(graph.nodes, "minilm", [source], [output], graph.constants)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=_IR_VERSION)


def _embed(graph: _Graph) -> str:
    """Words and positions, normalised; every token is of segment 0, so that row joins the positions."""
    prefix, weights = "embeddings", graph.weights
    positions = weights[f"{prefix}.position_embeddings.weight"] + weights[f"{prefix}.token_type_embeddings.weight"][0]
    words = graph.weight(f"{prefix}.word_embeddings.weight")
    places = graph.constant(f"{prefix}.position_embeddings.weight", positions)
    norm = [graph.weight(f"{prefix}.LayerNorm.{part}") for part in ("weight", "bias")]
    node = helper.make_node(
        "EmbedLayerNormalization",
        ["input_ids", "", words, places, "", *norm],
        ["embedded", "no_mask"],
        name="embedded",
        domain="com.microsoft",
        epsilon=EPSILON,
    )
    graph.nodes.append(node)
    return "embedded"


def _encode(graph: _Graph, layer: str, hidden: str) -> str:
    parts = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
    joined = {
        kind: np.concatenate([graph.weights[f"{part}.{kind}"].T for part in parts], axis=-1)
        for kind in ("weight", "bias")
    }
    inputs = [graph.constant(f"{layer}.attention.self.{kind}", value) for kind, value in joined.items()]
    attended = graph.add("Attention", [hidden, *inputs], f"{layer}.attention.attended", num_heads=HEADS)
    hidden = graph.skip_normalise(f"{layer}.attention.output", attended, hidden)
    product = graph.dense(f"{layer}.intermediate.dense", hidden)
    bias = graph.weight(f"{layer}.intermediate.dense.bias")
    widened = graph.add("BiasGelu", [product, bias], f"{layer}.intermediate.activated")
    return graph.skip_normalise(f"{layer}.output", widened, hidden)


def quantise(model: ModelProto, target: Path) -> None:
    """Write the model with its matrices as int8 per column; activations are quantised as they come.

    Seven bits of the eight are used: processors without VNNI add pairs of products in 16 bits, too few for eight.
    """
    from onnxruntime.quantization import quantize_dynamic  # noqa: PLC0415 - slow to import, wanted here alone

    quantize_dynamic(
        model,
        target,
        op_types_to_quantize=["MatMul", "Attention"],
        per_channel=True,
        reduce_range=True,
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )


def main(weights: str, target: str) -> None:
    """Build and write."""
    logging.disable(logging.WARNING)  # advice to run a shape inference that does not know these operators
    quantise(build_graph(read_weights(Path(weights))), Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:3])
