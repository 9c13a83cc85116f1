"""Parameters of well-known models, counted from their configurations."""

from __future__ import annotations

import pytest

from backend.engine.architecture import read_architecture
from tests.engine.known_models import KNOWN


@pytest.mark.parametrize("name", KNOWN)
def test_a_count_is_the_parameters_of_the_checkpoint(name: str) -> None:
    parameters, config = KNOWN[name]
    assert read_architecture(config).parameters == parameters


def test_a_token_passes_through_the_chosen_experts_only() -> None:
    counted = read_architecture(KNOWN["Mixtral-8x7B"][1])
    assert counted.active == 12_879_925_248
    assert counted.active < counted.parameters


def test_a_dense_model_is_active_as_a_whole() -> None:
    counted = read_architecture(KNOWN["Llama-3.1-8B"][1])
    assert counted.active == counted.parameters


def test_a_text_model_inside_a_larger_one_is_counted() -> None:
    parameters, config = KNOWN["Gemma-3-1B"]
    assert read_architecture({"model_type": "gemma3", "text_config": config}).parameters == parameters


def test_layers_that_look_no_farther_than_a_window_are_known() -> None:
    assert read_architecture(KNOWN["Mistral-7B-v0.1"][1]).windowed_layers == 32
    assert read_architecture(KNOWN["Gemma-2-9B"][1]).windowed_layers == 21
    assert read_architecture(KNOWN["Gemma-3-1B"][1]).windowed_layers == 22
    named = {**KNOWN["Gemma-2-9B"][1], "layer_types": ["sliding_attention", "full_attention", "full_attention"] * 14}
    assert read_architecture(named).windowed_layers == 14


def test_a_window_that_is_switched_off_is_none() -> None:
    config = {**KNOWN["Qwen2.5-7B"][1], "sliding_window": 131_072, "use_sliding_window": False}
    assert read_architecture(config).window is None


def test_layers_without_experts_are_counted_as_plain_ones() -> None:
    _, config = KNOWN["Qwen3-30B-A3B"]
    plain = {**config, "mlp_only_layers": list(range(48))}
    inner = 3 * 2048 * 6144 * 48
    assert read_architecture(plain).linear - inner == read_architecture(config).linear - 3 * 2048 * 768 * 128 * 48


def test_a_model_of_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'mamba' cannot be counted; known are gemma"):
        read_architecture({"model_type": "mamba"})


def test_a_configuration_that_lacks_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks 'hidden_size'"):
        read_architecture({"model_type": "llama"})
