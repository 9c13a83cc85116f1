"""Whether a model fits: weights by precision, KV cache, estimates for the rest, on N GPUs of M bytes.

Weights and KV cache are exact counts of what vLLM allocates; activations, CUDA graphs and the CUDA context are stated
estimates. Source: vLLM's block-wise KV cache (blocks of 16 tokens) and its split of heads under tensor parallelism.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from backend.engine.architecture import Architecture

GIB = 1024**3
BLOCK_TOKENS = 16
CONTEXT_BYTES = GIB * 6 // 10
"""Estimate for each GPU: CUDA context, libraries, communication buffers."""
GRAPH_BYTES = GIB // 2
"""Estimate for each GPU: captured CUDA graphs (none when the engine runs eagerly)."""


@dataclass(frozen=True, slots=True)
class Precision:
    """How one weight of a linear layer is kept; embeddings, norms and routers stay at 16 bits (at 32 in fp32)."""

    bits: int
    group: int | None = None
    """Weights that share a scale along the input; none: one scale for each output row where ``scale_bits`` is set."""
    scale_bits: int = 0
    zero_bits: int = 0
    rest_bits: int = 16


PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        "fp32": Precision(32, rest_bits=32),
        "bf16": Precision(16),
        "fp16": Precision(16),
        "fp8": Precision(8, scale_bits=32),
        "w8a8": Precision(8, scale_bits=16),
        "w4a16": Precision(4, group=128, scale_bits=16),
        "gptq": Precision(4, group=128, scale_bits=16, zero_bits=4),
        "awq": Precision(4, group=128, scale_bits=16, zero_bits=4),
    }
)
"""Ways to keep weights, by name."""

KV_BITS: Mapping[str, int] = MappingProxyType({"auto": 16, "bf16": 16, "fp16": 16, "fp8": 8, "fp32": 32})


@dataclass(frozen=True, slots=True)
class Placement:
    """What the model is put on; ``utilization`` is vLLM's share of each GPU, ``batched_tokens`` its largest step."""

    gpus: int = 1
    gpu_bytes: int = 80 * GIB
    utilization: float = 0.9
    batched_tokens: int = 8192
    eager: bool = False


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of it: so many sequences of so many tokens at once, KV entries kept as ``kv``."""

    context: int = 8192
    sequences: int = 1
    kv: str = "auto"


@dataclass(frozen=True, slots=True)
class Model:
    """A counted model and how its weights are kept."""

    architecture: Architecture
    precision: str = "bf16"


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes on each GPU, part by part; ``fits`` says whether the demand finds room, ``reason`` why not."""

    parts: Mapping[str, int]
    estimated: frozenset[str]
    """The names of those parts that are estimates."""
    limit_bytes: int
    kv_room_bytes: int
    """What is left for the KV cache on each GPU; negative when not even the weights fit."""
    bytes_per_sequence: int
    max_sequences: int
    kv_tokens: int
    """Tokens of KV cache there is room for."""
    fits: bool
    reason: str
    least_gpus: int | None = field(default=None)
    """The fewest GPUs (of powers of two up to 64) that would do; none when none would."""

    @property
    def used_bytes(self) -> int:
        """All parts together."""
        return sum(self.parts.values())


def weight_bytes(model: Model) -> int:
    """Bytes of a model's weights in memory, scales and zero points included."""
    counted, kept = model.architecture, PRECISIONS[model.precision]
    groups = counted.linear // kept.group if kept.group else counted.channels
    bits = counted.linear * kept.bits + groups * (kept.scale_bits + kept.zero_bits)
    return (bits + (counted.embedding + counted.other) * kept.rest_bits) // 8


def kv_bytes_per_token(architecture: Architecture, kv: str = "auto", gpus: int = 1) -> int:
    """Bytes one token takes in every layer together, on each GPU: a head is never split, so it may be repeated."""
    heads = max(architecture.kv_heads // gpus, 1)
    return architecture.layers * _layer_bytes(architecture, heads, kv)


def sequence_bytes(architecture: Architecture, demand: Demand, gpus: int = 1) -> int:
    """Bytes of KV cache of one sequence of full length, on each GPU; windowed layers keep their window only."""
    each = _layer_bytes(architecture, max(architecture.kv_heads // gpus, 1), demand.kv)
    full = _in_blocks(demand.context) * (architecture.layers - architecture.windowed_layers)
    near = _in_blocks(min(demand.context, architecture.window or demand.context)) * architecture.windowed_layers
    return each * (full + near)


def activation_bytes(architecture: Architecture, placement: Placement, sequences: int) -> int:
    """Estimate of the largest step's intermediate results on each GPU, and of the scores over the vocabulary."""
    width = 4 * architecture.hidden + 3 * architecture.intermediate // placement.gpus
    return placement.batched_tokens * width * 2 + 2 * 4 * sequences * architecture.vocabulary


def plan(model: Model, demand: Demand, placement: Placement, draft: Model | None = None) -> MemoryPlan:
    """Lay a demand out on GPUs. Raises ``ValueError`` on a placement that the model's heads cannot be split over."""
    _check(model, demand, placement)
    fixed = _fixed_parts(model, demand, placement, draft)
    limit = int(placement.gpu_bytes * placement.utilization)
    room = limit - sum(fixed.values())
    each = sequence_bytes(model.architecture, demand, placement.gpus)
    each += sequence_bytes(draft.architecture, demand, placement.gpus) if draft else 0
    most = max(room, 0) // each
    fits = most >= demand.sequences
    return MemoryPlan(
        parts={**fixed, "KV cache": each * demand.sequences},
        estimated=frozenset({"activations", "CUDA graphs", "CUDA context"}),
        limit_bytes=limit,
        kv_room_bytes=room,
        bytes_per_sequence=each,
        max_sequences=most,
        kv_tokens=max(room, 0) * demand.context // each,
        fits=fits,
        reason=_explain(fixed, limit, most, demand),
        least_gpus=_least_gpus(model, demand, placement, draft),
    )


def _fixed_parts(model: Model, demand: Demand, placement: Placement, draft: Model | None) -> dict[str, int]:
    """What does not grow with the number of tokens kept."""
    parts = {"weights": -(-weight_bytes(model) // placement.gpus)}
    if draft:
        parts["draft model"] = -(-weight_bytes(draft) // placement.gpus)
    parts["activations"] = activation_bytes(model.architecture, placement, demand.sequences)
    parts["CUDA graphs"] = 0 if placement.eager else GRAPH_BYTES
    parts["CUDA context"] = CONTEXT_BYTES
    return parts


def _explain(fixed: Mapping[str, int], limit: int, most: int, demand: Demand) -> str:
    taken = sum(fixed.values())
    if taken > limit:
        return f"weights and overhead take {taken / GIB:.1f} GiB of the {limit / GIB:.1f} GiB of each GPU"
    if most < demand.sequences:
        return f"the KV cache has room for {most} of {demand.sequences} sequences of {demand.context} tokens"
    return f"room for {most} sequences of {demand.context} tokens"


def _least_gpus(model: Model, demand: Demand, placement: Placement, draft: Model | None) -> int | None:
    limit = int(placement.gpu_bytes * placement.utilization)
    heads = model.architecture.kv_heads
    for gpus in (each for each in (1, 2, 4, 8, 16, 32, 64) if not (heads % each and each % heads)):
        tried = Placement(gpus, placement.gpu_bytes, placement.utilization, placement.batched_tokens, placement.eager)
        each = sequence_bytes(model.architecture, demand, gpus)
        each += sequence_bytes(draft.architecture, demand, gpus) if draft else 0
        if sum(_fixed_parts(model, demand, tried, draft).values()) + each * demand.sequences <= limit:
            return gpus
    return None


def _check(model: Model, demand: Demand, placement: Placement) -> None:
    kv_heads, gpus = model.architecture.kv_heads, placement.gpus
    if model.precision not in PRECISIONS:
        raise ValueError(f"precision {model.precision!r} is none of {', '.join(PRECISIONS)}")
    if demand.kv not in KV_BITS:
        raise ValueError(f"KV cache type {demand.kv!r} is none of {', '.join(KV_BITS)}")
    if min(gpus, demand.context, demand.sequences) < 1:
        raise ValueError("GPUs, context and sequences are at least 1")
    if kv_heads % gpus and gpus % kv_heads:
        raise ValueError(f"{kv_heads} KV heads cannot be split over {gpus} GPUs")


def _layer_bytes(architecture: Architecture, heads: int, kv: str) -> int:
    return 2 * heads * architecture.head_dim * KV_BITS[kv] // 8


def _in_blocks(tokens: int) -> int:
    return -(-tokens // BLOCK_TOKENS) * BLOCK_TOKENS
