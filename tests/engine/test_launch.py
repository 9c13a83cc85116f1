from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.engine.launch import find_python, plan_launch
from backend.settings.knobs import EngineSpec

ENVIRONMENT = {
    "PATH": "/bin",
    "HF_HOME": "models",
    "LC_ALL": "C",
    "OPENAI_API_KEY": "sk-secret",
    "GOVERNOR_SECRET": "hidden",
    "GOVERNOR_ENGINE_PYTHON": "engine/python",
}


def launch(port: int = 8100, **changes: Any) -> tuple[list[str], dict[str, str]]:
    spec = EngineSpec(**({"name": "small", "model": "models/small"} | changes))
    found = plan_launch(spec, port, drain_s=30, environment=ENVIRONMENT)
    return list(found.argv), dict(found.environment)


def value_of(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


def test_an_engine_listens_on_loopback_under_its_name() -> None:
    argv, _ = launch()
    assert argv[:6] == ["engine/python", "-P", "-m", "vllm.entrypoints.cli.main", "serve", "models/small"]
    assert (value_of(argv, "--host"), value_of(argv, "--port")) == ("127.0.0.1", "8100")
    assert value_of(argv, "--served-model-name") == "small"
    assert value_of(argv, "--shutdown-timeout") == "30"


def test_a_keeper_on_a_machine_of_its_own_says_where_gateways_find_its_engines() -> None:
    spec = EngineSpec(name="small", model="models/small")
    found = plan_launch(spec, 8100, drain_s=30, environment={**ENVIRONMENT, "GOVERNOR_ENGINE_HOST": "10.0.0.7"})
    assert value_of(list(found.argv), "--host") == "10.0.0.7"
    assert found.url == "http://10.0.0.7:8100/v1"


def test_an_engine_learns_no_secret() -> None:
    _, environment = launch()
    assert environment["PATH"] == "/bin"
    assert environment["HF_HOME"] == "models"
    assert not {"OPENAI_API_KEY", "GOVERNOR_SECRET", "GOVERNOR_ENGINE_PYTHON"} & environment.keys()


@pytest.mark.parametrize(
    ("knobs", "options"),
    [
        ({"max_model_len": 2048}, {"--max-model-len": "2048"}),
        ({"max_num_seqs": 7}, {"--max-num-seqs": "7"}),
        ({"max_num_batched_tokens": 4096}, {"--max-num-batched-tokens": "4096"}),
        ({"gpu_memory_utilization": 0.5}, {"--gpu-memory-utilization": "0.5"}),
        ({"dtype": "bfloat16"}, {"--dtype": "bfloat16"}),
        ({"quantisation": "awq"}, {"--quantization": "awq"}),
        ({"quantisation": "compressed-tensors"}, {"--quantization": "compressed-tensors"}),
        ({"quantisation": "int8"}, {"--quantization": "int8_per_channel_weight_only"}),
        (
            {"tensor_parallel": 2, "pipeline_parallel": 3, "executor": "ray"},
            {
                "--tensor-parallel-size": "2",
                "--pipeline-parallel-size": "3",
                "--distributed-executor-backend": "ray",
            },
        ),
        ({"lora_modules": [{"name": "sql", "path": "adapters/sql"}]}, {"--lora-modules": "sql=adapters/sql"}),
    ],
)
def test_every_knob_reaches_vllm(knobs: dict[str, Any], options: dict[str, str]) -> None:
    argv, _ = launch(**knobs)
    assert {option: value_of(argv, option) for option in options} == options


def test_what_is_not_said_is_left_to_vllm() -> None:
    argv, environment = launch()
    absent = "--max-model-len --max-num-batched-tokens --quantization --speculative-config --tensor-parallel-size"
    assert not set(absent.split()) & set(argv)
    assert not {"OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE"} & environment.keys()


def test_guesses_come_from_the_prompt_or_from_a_small_model() -> None:
    argv, _ = launch(speculation={"method": "ngram", "tokens": 3, "lookup_max": 5})
    assert json.loads(value_of(argv, "--speculative-config")) == {
        "method": "ngram",
        "num_speculative_tokens": 3,
        "prompt_lookup_max": 5,
        "prompt_lookup_min": 2,
    }
    argv, _ = launch(speculation={"method": "draft", "draft_model": "models/tiny"})
    assert json.loads(value_of(argv, "--speculative-config")) == {
        "method": "draft_model",
        "model": "models/tiny",
        "num_speculative_tokens": 4,
    }


def test_prefix_caching_is_said_either_way() -> None:
    assert "--enable-prefix-caching" in launch()[0]
    assert "--no-enable-prefix-caching" in launch(prefix_caching=False)[0]


def test_extra_arguments_come_last_as_they_were_said() -> None:
    assert launch(extra_args=["--enforce-eager", "--seed=7"])[0][-2:] == ["--enforce-eager", "--seed=7"]


def test_the_machine_is_told_apart_by_environment() -> None:
    _, environment = launch(cpu_kv_cache_gb=2, cpu_threads=3, devices="0,1", offline=True)
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert environment["HF_HUB_OFFLINE"] == "1"


def test_the_engines_python_is_beside_governors_own_unless_named() -> None:
    assert find_python({}).parts[-3:] == (".venv-engine", "bin", "python")
    assert find_python(ENVIRONMENT) == Path("engine/python")
