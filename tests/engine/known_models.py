"""Configurations of well-known models, as their publishers state them, with the parameters their checkpoints have."""

from __future__ import annotations

from typing import Any

LLAMA: dict[str, Any] = {"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 8}
BIG_VOCABULARY = 128_256
QWEN_VOCABULARY = 151_936


def _sized(hidden: int, intermediate: int, layers: int, vocabulary: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "vocab_size": vocabulary,
    }


def _headed(kind: str, heads: int, kv_heads: int, head_dim: int | None = None) -> dict[str, Any]:
    found = {"model_type": kind, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
    return found if head_dim is None else {**found, "head_dim": head_dim}


UNTIED = {"tie_word_embeddings": False}
TIED = {"tie_word_embeddings": True}

KNOWN: dict[str, tuple[int, dict[str, Any]]] = {
    "Llama-3.1-8B": (8_030_261_248, {**LLAMA, **_sized(4096, 14336, 32, BIG_VOCABULARY), **UNTIED}),
    "Llama-3.2-1B": (1_235_814_400, {**LLAMA, **_sized(2048, 8192, 16, BIG_VOCABULARY), "head_dim": 64, **TIED}),
    "Llama-3.1-70B": (
        70_553_706_496,
        {**_headed("llama", 64, 8), **_sized(8192, 28672, 80, BIG_VOCABULARY), **UNTIED},
    ),
    "Llama-2-7B": (
        6_738_415_616,
        {"model_type": "llama", "num_attention_heads": 32, **_sized(4096, 11008, 32, 32_000)},
    ),
    "Mistral-7B-v0.1": (
        7_241_732_096,
        {**_headed("mistral", 32, 8), **_sized(4096, 14336, 32, 32_000), "sliding_window": 4096},
    ),
    "Mixtral-8x7B": (
        46_702_792_704,
        {
            **_headed("mixtral", 32, 8),
            **_sized(4096, 14336, 32, 32_000),
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        },
    ),
    "Qwen2.5-0.5B": (494_032_768, {**_headed("qwen2", 14, 2), **_sized(896, 4864, 24, QWEN_VOCABULARY), **TIED}),
    "Qwen2.5-7B": (7_615_616_512, {**_headed("qwen2", 28, 4), **_sized(3584, 18944, 28, 152_064), **UNTIED}),
    "Qwen3-0.6B": (596_049_920, {**_headed("qwen3", 16, 8, 128), **_sized(1024, 3072, 28, QWEN_VOCABULARY), **TIED}),
    "Qwen3-8B": (8_190_735_360, {**_headed("qwen3", 32, 8, 128), **_sized(4096, 12288, 36, QWEN_VOCABULARY), **UNTIED}),
    "Qwen3-30B-A3B": (
        30_532_122_624,
        {
            **_headed("qwen3_moe", 32, 4, 128),
            **_sized(2048, 6144, 48, QWEN_VOCABULARY),
            **UNTIED,
            "moe_intermediate_size": 768,
            "num_experts": 128,
            "num_experts_per_tok": 8,
        },
    ),
    "Qwen1.5-MoE-A2.7B": (
        14_315_784_192,
        {
            **_headed("qwen2_moe", 16, 16),
            **_sized(2048, 5632, 24, QWEN_VOCABULARY),
            **UNTIED,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
            "num_experts": 60,
            "num_experts_per_tok": 4,
        },
    ),
    "Gemma-7B": (8_537_680_896, {**_headed("gemma", 16, 16, 256), **_sized(3072, 24576, 28, 256_000)}),
    "Gemma-2-9B": (
        9_241_705_984,
        {**_headed("gemma2", 16, 8, 256), **_sized(3584, 14336, 42, 256_000), "sliding_window": 4096},
    ),
    "Gemma-3-1B": (
        999_885_952,
        {**_headed("gemma3_text", 4, 1, 256), **_sized(1152, 6912, 26, 262_144), "sliding_window": 512},
    ),
    "Phi-3-mini": (3_821_079_552, {**_headed("phi3", 32, 32), **_sized(3072, 8192, 32, 32_064)}),
}
