"""What fits: bytes of weights and KV cache against published figures, and laws of the plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine.architecture import read_architecture
from backend.engine.memory import (
    GIB,
    PRECISIONS,
    Demand,
    Model,
    Placement,
    kv_bytes_per_token,
    plan,
    sequence_bytes,
    weight_bytes,
)
from backend.engine.reading import VLLM
from backend.engine.scrape import read_text
from tests.engine.known_models import KNOWN

NAMES = st.sampled_from(sorted(KNOWN))


def model(name: str, precision: str = "bf16") -> Model:
    return Model(read_architecture(KNOWN[name][1]), precision)


@pytest.mark.parametrize(
    ("name", "per_token"),
    [
        ("Llama-3.1-8B", 128 * 1024),
        ("Llama-3.1-70B", 320 * 1024),
        ("Llama-2-7B", 512 * 1024),
        ("Llama-3.2-1B", 32 * 1024),
        ("Qwen2.5-7B", 56 * 1024),
        ("Qwen3-8B", 144 * 1024),
    ],
)
def test_a_token_takes_the_published_bytes_of_kv_cache(name: str, per_token: int) -> None:
    assert kv_bytes_per_token(model(name).architecture) == per_token


def test_eight_billion_weights_take_two_bytes_each_in_bf16() -> None:
    assert weight_bytes(model("Llama-3.1-8B")) == 2 * 8_030_261_248
    assert weight_bytes(model("Llama-3.1-8B", "fp32")) == 4 * 8_030_261_248


def test_four_bit_weights_keep_embeddings_and_carry_their_scales() -> None:
    counted = model("Llama-3.1-8B").architecture
    kept = 2 * (counted.embedding + counted.other)
    assert weight_bytes(model("Llama-3.1-8B", "w4a16")) == kept + counted.linear // 2 + counted.linear // 128 * 2
    assert weight_bytes(model("Llama-3.1-8B", "awq")) == kept + counted.linear // 2 + counted.linear // 128 * 20 // 8
    published_gib = 5.74 * 1e9 / GIB  # the AWQ checkpoint of this model
    assert weight_bytes(model("Llama-3.1-8B", "awq")) / GIB == pytest.approx(published_gib, rel=0.02)


def test_eight_bit_weights_carry_one_scale_for_each_row() -> None:
    counted = model("Llama-3.1-8B").architecture
    expected = 2 * (counted.embedding + counted.other) + counted.linear + 2 * counted.channels
    assert weight_bytes(model("Llama-3.1-8B", "w8a8")) == expected


def test_an_eight_billion_model_fits_one_gpu_of_24_gib_and_a_seventy_billion_model_does_not() -> None:
    small = plan(model("Llama-3.1-8B"), Demand(8192, 1), Placement(gpu_bytes=24 * GIB))
    assert small.fits
    assert small.reason == f"room for {small.max_sequences} sequences of 8192 tokens"
    large = plan(model("Llama-3.1-70B"), Demand(8192, 1), Placement(gpu_bytes=80 * GIB))
    assert not large.fits
    assert "weights and overhead take" in large.reason
    assert large.least_gpus == 2  # 2 × 72 GiB hold 131 GiB of weights
    assert plan(model("Llama-3.1-70B"), Demand(8192, 1), Placement(2, 80 * GIB)).fits


def test_more_sequences_than_there_is_room_for_do_not_fit() -> None:
    asked = plan(model("Llama-3.1-8B"), Demand(131_072, 8), Placement(gpu_bytes=24 * GIB))
    assert not asked.fits
    assert asked.reason == "the KV cache has room for 0 of 8 sequences of 131072 tokens"
    assert asked.least_gpus in {8, 16}


def test_heads_are_never_split() -> None:
    counted = model("Qwen2.5-7B").architecture  # 4 KV heads
    assert kv_bytes_per_token(counted, gpus=4) == kv_bytes_per_token(counted) // 4
    assert kv_bytes_per_token(counted, gpus=8) == kv_bytes_per_token(counted, gpus=4)
    with pytest.raises(ValueError, match="4 KV heads cannot be split over 3 GPUs"):
        plan(model("Qwen2.5-7B"), Demand(), Placement(gpus=3))


def test_windowed_layers_keep_their_window_only() -> None:
    counted = model("Mistral-7B-v0.1").architecture
    assert sequence_bytes(counted, Demand(32_768)) == sequence_bytes(counted, Demand(4096))
    half = model("Gemma-2-9B").architecture
    per_layer = kv_bytes_per_token(half) // half.layers
    assert sequence_bytes(half, Demand(8192)) == per_layer * 21 * (8192 + 4096)


def test_a_half_precision_cache_holds_twice_the_sequences() -> None:
    placement = Placement(gpu_bytes=24 * GIB)
    usual = plan(model("Llama-3.1-8B"), Demand(8192), placement)
    halved = plan(model("Llama-3.1-8B"), Demand(8192, kv="fp8"), placement)
    assert halved.bytes_per_sequence * 2 == usual.bytes_per_sequence
    assert halved.kv_tokens == pytest.approx(2 * usual.kv_tokens, abs=2)


def test_a_draft_model_takes_its_weights_and_its_own_kv_cache() -> None:
    placement, demand = Placement(gpu_bytes=40 * GIB), Demand(4096, 4)
    alone = plan(model("Llama-3.1-8B"), demand, placement)
    helped = plan(model("Llama-3.1-8B"), demand, placement, model("Llama-3.2-1B"))
    assert helped.parts["draft model"] == weight_bytes(model("Llama-3.2-1B"))
    assert helped.bytes_per_sequence - alone.bytes_per_sequence == 4096 * 32 * 1024
    assert helped.max_sequences < alone.max_sequences


def test_estimates_are_named() -> None:
    found = plan(model("Llama-3.1-8B"), Demand(), Placement())
    assert found.estimated <= found.parts.keys()
    assert not {"weights", "KV cache"} & found.estimated
    assert plan(model("Llama-3.1-8B"), Demand(), Placement(eager=True)).parts["CUDA graphs"] == 0


@pytest.mark.parametrize(
    ("asked", "demand", "says"),
    [
        (model("Llama-3.1-8B", "int3"), Demand(), "precision 'int3' is none of fp32"),
        (model("Llama-3.1-8B"), Demand(kv="int3"), "KV cache type 'int3' is none of auto"),
        (model("Llama-3.1-8B"), Demand(sequences=0), "at least 1"),
    ],
)
def test_nonsense_is_refused(asked: Model, demand: Demand, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plan(asked, demand, Placement())


@given(NAMES, st.sampled_from(sorted(PRECISIONS)), st.integers(1, 131_072), st.integers(1, 256), st.integers(4, 192))
def test_a_demand_fits_exactly_when_its_parts_stay_within_the_limit(
    name: str, precision: str, context: int, sequences: int, gib: int
) -> None:
    found = plan(model(name, precision), Demand(context, sequences), Placement(gpu_bytes=gib * GIB))
    assert found.fits == (found.used_bytes <= found.limit_bytes)
    assert found.fits == (found.max_sequences >= sequences)
    assert found.fits == (found.least_gpus == 1)


@given(NAMES, st.sampled_from(sorted(PRECISIONS)), st.integers(1, 65_536))
def test_more_memory_or_less_context_never_means_fewer_sequences(name: str, precision: str, context: int) -> None:
    asked = model(name, precision)
    here = plan(asked, Demand(context), Placement(gpu_bytes=80 * GIB)).max_sequences
    assert plan(asked, Demand(context), Placement(gpu_bytes=141 * GIB)).max_sequences >= here
    assert plan(asked, Demand(max(context // 2, 1)), Placement(gpu_bytes=80 * GIB)).max_sequences >= here


@given(NAMES)
def test_fewer_bits_take_fewer_bytes(name: str) -> None:
    taken = [weight_bytes(model(name, precision)) for precision in ("fp32", "bf16", "fp8", "w4a16")]
    assert taken == sorted(taken, reverse=True)


def test_the_plan_agrees_with_what_a_real_vllm_reports() -> None:
    """Recorded: 1 GiB of KV cache on a CPU, "CPU KV cache size: 524,288 tokens" for this configuration."""
    tiny = {
        "model_type": "llama",
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": 2048,
        "tie_word_embeddings": False,
    }
    recorded = read_text(Path(__file__).with_name("vllm_metrics.txt").read_text(), VLLM, 0)
    assert GIB // kv_bytes_per_token(read_architecture(tiny)) == recorded.kv_tokens == 524_288
