"""Knobs of engines refuse what cannot be launched."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from backend.settings.knobs import EngineSettings, EngineSpec
from backend.settings.knobs.engine import Speculation


def spec(**changes: Any) -> EngineSpec:
    return EngineSpec(**({"name": "small", "model": "models/small"} | changes))


def test_an_engine_is_served_under_its_own_name_unless_told_otherwise() -> None:
    assert spec().served == "small"
    assert spec(served_name="llama").served == "llama"
    assert spec(kind="attached", server="ollama", base_url="http://gpu:11434/v1", model="qwen3").served == "qwen3"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra_args": ["--trust-remote-code"]}, "not on the allow-list: trust-remote-code"),
        ({"extra_args": ["--port=1"]}, "not on the allow-list: port"),
        ({"extra_args": ["--seed=1", "--seed=2"]}, "argument declared twice: seed"),
        ({"extra_args": ["-x"]}, "should match pattern"),
        ({"kind": "attached"}, "needs a base_url"),
        ({"server": "tgi"}, "attach other servers"),
        ({"base_url": "http://127.0.0.1:1/v1"}, "attach other servers"),
        ({"kind": "attached", "base_url": "ftp://gpu/v1"}, "must be http"),
        ({"name": "Big Model"}, "should match pattern"),
        ({"model": "--help"}, "should match pattern"),
        ({"lora_modules": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]}, "LoRA module declared twice: a"),
    ],
)
def test_what_cannot_be_launched_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**changes)


def test_speculation_needs_what_it_guesses_with() -> None:
    with pytest.raises(ValidationError, match="needs draft_model"):
        Speculation(method="draft")
    with pytest.raises(ValidationError, match="lookup_min"):
        Speculation(method="ngram", lookup_max=2, lookup_min=3)


@pytest.mark.parametrize("shared", [{"name": "small"}, {"port": 8100}])
def test_engines_do_not_share_a_name_or_a_port(shared: dict[str, Any]) -> None:
    first, second = spec(**({"name": "one"} | shared)), spec(**({"name": "two"} | shared))
    with pytest.raises(ValidationError, match="declared twice"):
        EngineSettings(engines=(first, second))


def test_only_the_admission_window_and_the_price_apply_at_once() -> None:
    applies: dict[str, Any] = {name: field.json_schema_extra for name, field in EngineSpec.model_fields.items()}
    assert {name for name, extra in applies.items() if extra["applies"] == "at once"} == {
        "max_running",
        "usd_per_gpu_hour",
    }
