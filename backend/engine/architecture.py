"""What a model is made of, counted from its Hugging Face configuration: parameters, layers, KV heads.

Source: the module definitions of transformers for each model type. Counts leave out nothing a checkpoint stores; tied
embeddings count once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MOE_TYPES = {"mixtral", "qwen2_moe", "qwen3_moe"}
_FOUR_NORMS = {"gemma2", "gemma3_text"}
_HEAD_NORMS = {"qwen3", "qwen3_moe", "gemma3_text"}
_QKV_BIAS = {"qwen2", "qwen2_moe"}
KNOWN_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3"} | _MOE_TYPES)
"""Model types whose parameters can be counted."""
_ALWAYS_TIED = {"gemma", "gemma2", "gemma3_text"}
_SWITCHED_WINDOW = {"qwen2", "qwen2_moe", "qwen3", "qwen3_moe"}
_USUAL_GEMMA2_PATTERN = 2
_USUAL_GEMMA3_PATTERN = 6


@dataclass(frozen=True, slots=True)
class Architecture:
    """Counts of one model; ``linear`` weights are those that quantisation shrinks, ``channels`` their output rows."""

    model_type: str
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    kv_heads: int
    head_dim: int
    linear: int
    """Weights of the linear layers inside the blocks, experts included."""
    channels: int
    embedding: int
    """Token embeddings and the output head (one matrix where they are tied)."""
    other: int
    """Norms, biases, routers of experts: never quantised."""
    active: int
    """Parameters that one token passes through."""
    context: int | None
    """Longest context the model was made for, in tokens."""
    window: int | None
    """Sliding window in tokens, of those layers that have one."""
    windowed_layers: int = 0

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.linear + self.embedding + self.other


def read_architecture(config: Mapping[str, Any]) -> Architecture:
    """Count a model. Raises ``ValueError`` on a model type that is not known, a field that is missing or no size."""
    inner = config.get("text_config")
    text = inner if inner and isinstance(inner, Mapping) else config
    kind = str(text.get("model_type"))
    if kind not in KNOWN_TYPES:
        raise ValueError(f"model type {kind!r} cannot be counted; known are {', '.join(sorted(KNOWN_TYPES))}")
    try:
        return _count(kind, text)
    except (KeyError, TypeError) as problem:
        raise ValueError(f"the configuration of this {kind} model lacks {problem}") from None
    except ZeroDivisionError:
        raise ValueError(f"the configuration of this {kind} model makes no sense: it divides by zero") from None


def _count(kind: str, config: Mapping[str, Any]) -> Architecture:
    hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    heads = int(config["num_attention_heads"])
    kv_heads = int(config.get("num_key_value_heads") or heads)
    head_dim = int(config.get("head_dim") or hidden // heads)
    attention, rows, biases = _count_attention(kind, config, (hidden, heads, kv_heads, head_dim))
    blocks = _count_feed_forward(kind, config, hidden, layers)
    norms = hidden * (4 if kind in _FOUR_NORMS else 2) + (2 * head_dim if kind in _HEAD_NORMS else 0)
    matrices = 1 if _is_tied(kind, config) else 2
    vocabulary = int(config["vocab_size"])
    embedding, other = vocabulary * hidden * matrices, blocks.other + layers * (norms + biases) + hidden
    linear = blocks.linear + layers * attention
    window, windowed = _windowed(kind, config, layers)
    return Architecture(
        model_type=kind,
        layers=layers,
        hidden=hidden,
        intermediate=int(config["intermediate_size"]),
        vocabulary=vocabulary,
        kv_heads=kv_heads,
        head_dim=head_dim,
        linear=linear,
        channels=blocks.channels + layers * rows,
        embedding=embedding,
        other=other,
        active=blocks.active + layers * attention + embedding + other,
        context=config.get("max_position_embeddings"),
        window=window,
        windowed_layers=windowed,
    )


def _count_attention(kind: str, config: Mapping[str, Any], sizes: tuple[int, int, int, int]) -> tuple[int, int, int]:
    """Weights, output rows and biases of the four projections of one layer."""
    hidden, heads, kv_heads, head_dim = sizes
    queries, keys = heads * head_dim, kv_heads * head_dim
    rows = queries + 2 * keys
    biases = rows if kind in _QKV_BIAS or config.get("attention_bias") else 0
    if config.get("attention_bias") and kind not in _QKV_BIAS:
        biases += hidden
    return hidden * rows + queries * hidden, rows + hidden, biases


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Feed-forward parts of all layers together."""

    linear: int
    channels: int
    other: int
    active: int


def _count_feed_forward(kind: str, config: Mapping[str, Any], hidden: int, layers: int) -> _Blocks:
    inner = int(config["intermediate_size"])
    if kind not in _MOE_TYPES:
        bias = (2 * inner + hidden) if config.get("mlp_bias") else 0
        dense = 3 * hidden * inner * layers
        return _Blocks(dense, (2 * inner + hidden) * layers, bias * layers, dense)
    experts = int(config.get("num_local_experts") or config["num_experts"])
    chosen = int(config.get("num_experts_per_tok") or 1)
    each = inner if kind == "mixtral" else int(config["moe_intermediate_size"])
    shared = int(config.get("shared_expert_intermediate_size") or 0) if kind == "qwen2_moe" else 0
    plain = _plain_layers(config, layers)
    mixed = layers - plain
    router = hidden * experts + (hidden if shared else 0)
    linear = 3 * hidden * (mixed * (experts * each + shared) + plain * inner)
    channels = mixed * (experts * (2 * each + hidden) + (2 * shared + hidden if shared else 0)) + plain * (
        2 * inner + hidden
    )
    active = 3 * hidden * (mixed * (chosen * each + shared) + plain * inner)
    return _Blocks(linear, channels, mixed * router, active)


def _plain_layers(config: Mapping[str, Any], layers: int) -> int:
    """Layers of a mixture of experts that have none."""
    step = int(config.get("decoder_sparse_step") or 1)
    named = set(config.get("mlp_only_layers") or ())
    return sum(number in named or (number + 1) % step != 0 for number in range(layers))


def _is_tied(kind: str, config: Mapping[str, Any]) -> bool:
    return bool(config.get("tie_word_embeddings", kind in _ALWAYS_TIED))


def _windowed(kind: str, config: Mapping[str, Any], layers: int) -> tuple[int | None, int]:
    """The sliding window, and how many layers look no farther than that."""
    window = config.get("sliding_window")
    if not window or (kind in _SWITCHED_WINDOW and not config.get("use_sliding_window")):
        return None, 0
    named = config.get("layer_types")
    if named:
        return int(window), sum(each == "sliding_attention" for each in named)
    if kind == "gemma2":
        return int(window), layers - layers // _USUAL_GEMMA2_PATTERN
    if kind == "gemma3_text":
        pattern = int(config.get("sliding_window_pattern") or _USUAL_GEMMA3_PATTERN)
        return int(window), layers - layers // pattern
    return int(window), layers
