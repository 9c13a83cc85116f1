"""Knobs of local engines: which ones there are, how each is launched, when one counts as ill."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from backend.settings.knobs.deployments import EnvironmentName, PlainUrl
from backend.settings.knobs.section import Section, knob

EngineName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f-][^\x00-\x1f]{0,500}$")]
Devices = Annotated[str, StringConstraints(pattern=r"^\d{1,3}(,\d{1,3}){0,15}$")]
ExtraArgument = Annotated[str, StringConstraints(pattern=r"^--[a-z][a-z0-9-]*(=[^\x00-\x1f]{1,500})?$")]
Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000, max_digits=12, decimal_places=6)]

Server = Literal["vllm", "tgi", "ollama", "sglang"]
Quantisation = Literal["none", "awq", "gptq", "fp8", "int8", "compressed-tensors"]

_ALLOWED = (
    "async-scheduling block-size chat-template cpu-offload-gb data-parallel-size "
    "enable-auto-tool-choice enable-chunked-prefill enable-expert-parallel enforce-eager "
    "generation-config hf-overrides kv-cache-dtype kv-cache-memory-bytes limit-mm-per-prompt load-format "
    "long-prefill-token-threshold max-logprobs max-lora-rank max-loras "
    "no-async-scheduling no-enable-chunked-prefill override-generation-config reasoning-parser revision "
    "scheduling-policy seed skip-mm-profiling stream-interval tokenizer tokenizer-mode tokenizer-revision "
    "tool-call-parser"
)
ALLOWED_ARGUMENTS = frozenset(_ALLOWED.split())
"""Arguments of vLLM that may be given as they are; none of them runs code of a model, opens a port or writes a file."""


def launch_knob(default: Any, title: str, description: str, **bounds: Any) -> Any:
    """A knob that a running engine takes with its next launch."""
    return knob(default, title, description, applies="after engine restart", **bounds)


class Speculation(Section):
    """Guess several tokens ahead and check them at once: from the prompt's own words, or with a small model."""

    method: Literal["off", "ngram", "draft"] = launch_knob("off", "Method", "Where guesses come from.")
    tokens: int = launch_knob(4, "Guessed tokens", "Tokens guessed per step.", ge=1, le=32)
    lookup_max: int = launch_knob(4, "Longest match", "Words of the prompt an n-gram guess must match.", ge=1, le=32)
    lookup_min: int = launch_knob(2, "Shortest match", "The least it must match.", ge=1, le=32)
    draft_model: ModelName | None = launch_knob(None, "Draft model", "The small model, by name or folder.")

    @model_validator(mode="after")
    def _complete(self) -> Speculation:
        if self.method == "draft" and self.draft_model is None:
            raise ValueError("speculation with a draft model needs draft_model")
        if self.lookup_min > self.lookup_max:
            raise ValueError("lookup_min must not be above lookup_max")
        return self


class LoraModule(Section):
    """An adapter that is served beside the model under a name of its own."""

    name: EngineName = launch_knob(..., "Name", "Model name callers ask for.")
    path: ModelName = launch_knob(..., "Path", "Folder or name of the adapter.")


class EngineSpec(Section):
    """One engine: a process the keeper launches, or a server that somebody else runs (attached)."""

    name: EngineName = launch_knob(..., "Name", "Unique name; the deployment of this name sends calls to it.")
    kind: Literal["managed", "attached"] = launch_knob("managed", "Kind", "Launched here, or attached by its address.")
    server: Server = launch_knob("vllm", "Server", "What it is; only vLLM can be managed.")
    model: ModelName = launch_knob(..., "Model", "Folder or name of the weights; of an attached one, its model's name.")
    served_name: ModelName | None = launch_knob(None, "Served as", "Model name callers ask for; the engine's if empty.")
    quantisation: Quantisation = launch_knob(
        "none", "Quantisation", "Of the weights; none reads it from the model's own configuration."
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = launch_knob("auto", "Type", "Of what is computed.")
    max_model_len: int | None = launch_knob(
        None, "Longest context", "Tokens of prompt and answer; the model's own if empty.", ge=16, le=10_000_000
    )
    max_num_seqs: int = launch_knob(128, "Batch", "Most calls computed at once.", ge=1, le=8192)
    max_num_batched_tokens: int | None = launch_knob(
        None, "Step", "Most tokens per step; vLLM's choice if empty.", ge=16, le=1_048_576
    )
    gpu_memory_utilization: float = launch_knob(0.9, "GPU memory", "Share of it that vLLM takes.", gt=0, le=1)
    cpu_kv_cache_gb: int = launch_knob(4, "CPU cache", "KV cache without a GPU, gigabytes.", ge=1, le=4096)
    cpu_threads: int | None = launch_knob(None, "CPU threads", "Without a GPU; all cores if empty.", ge=1, le=1024)
    devices: Devices | None = launch_knob(None, "GPUs", "Their numbers, such as 0,1; all if empty.")
    offline: bool = launch_knob(False, "Offline", "Never ask a model hub: everything must be in folders or its cache.")
    prefix_caching: bool = launch_knob(True, "Prefix caching", "Keep what was computed for beginnings of prompts.")
    speculation: Speculation = launch_knob(Speculation, "Speculation", "Guess several tokens ahead.")
    tensor_parallel: int = launch_knob(1, "Tensor parallel", "GPUs that share each layer.", ge=1, le=64)
    pipeline_parallel: int = launch_knob(1, "Pipeline parallel", "Groups of GPUs that share the layers.", ge=1, le=64)
    executor: Literal["mp", "ray"] = launch_knob("mp", "Executor", "Processes of one machine, or Ray over several.")
    lora_modules: tuple[LoraModule, ...] = launch_knob((), "LoRA", "Adapters served beside the model.", max_length=32)
    extra_args: tuple[ExtraArgument, ...] = launch_knob(
        (), "More arguments", "Of vLLM, as --name or --name=value; those on the allow-list.", max_length=32
    )
    port: int | None = launch_knob(None, "Port", "On loopback; a free one if empty.", ge=1024, le=65_535)
    base_url: PlainUrl | None = launch_knob(None, "Address", "Of an attached engine, up to and including /v1.")
    api_key_env: EnvironmentName | None = launch_knob(
        None, "Credential", "Environment variable that holds an attached engine's key."
    )
    machine: str | None = launch_knob(
        None, "Machine", "Host name of the machine whose keeper runs it; any if empty.", max_length=253
    )
    max_running: int | None = knob(
        None,
        "Admission window",
        "Calls at once from each gateway worker, others wait in line; empty: any.",
        ge=1,
        le=100_000,
    )
    usd_per_gpu_hour: Dollars | None = knob(None, "Dollars per GPU-hour", "What a GPU (or this machine) costs.")

    @property
    def served(self) -> str:
        """The model name that callers ask for."""
        return self.served_name or (self.model if self.kind == "attached" else self.name)

    @property
    def gpus(self) -> int:
        """How many GPUs it takes."""
        return self.tensor_parallel * self.pipeline_parallel

    @field_validator("extra_args")
    @classmethod
    def _only_allowed(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        names = [value.removeprefix("--").partition("=")[0] for value in values]
        unknown = sorted(set(names) - ALLOWED_ARGUMENTS)
        if unknown:
            raise ValueError(f"not on the allow-list: {', '.join(unknown)}")
        _refuse_repeats("argument", names)
        return values

    @model_validator(mode="after")
    def _kind_is_complete(self) -> EngineSpec:
        if self.kind == "attached" and self.base_url is None:
            raise ValueError(f"engine {self.name}: an attached engine needs a base_url")
        if self.kind == "managed" and (self.server != "vllm" or self.base_url is not None):
            raise ValueError(f"engine {self.name}: what is managed is vLLM without a base_url; attach other servers")
        _refuse_repeats("LoRA module", [each.name for each in self.lora_modules])
        return self


class EngineSettings(Section):
    """The engines of this installation, and when one counts as ill, too slow or settled."""

    engines: tuple[EngineSpec, ...] = knob((), "Engines", "Local models and attached servers.", max_length=64)
    health_period_s: float = knob(5.0, "Health period", "Seconds between two checks.", gt=0, le=3600)
    health_deadline_s: float = knob(10.0, "Health deadline", "Seconds to generate one token.", gt=0, le=600)
    health_failures: int = knob(3, "Failed checks", "In a row, until it is restarted.", ge=1, le=100)
    wedge_s: float = knob(
        30.0, "Wedged after", "Seconds that calls wait while none runs and no token comes.", gt=0, le=3600
    )
    start_deadline_s: float = knob(900.0, "Start deadline", "Seconds until its first token.", gt=0, le=86_400)
    drain_s: float = knob(30.0, "Drain", "Seconds that open calls may take before it is stopped.", ge=0, le=3600)
    backoff_first_s: float = knob(2.0, "First pause", "Seconds until a failed one starts again.", gt=0, le=3600)
    backoff_most_s: float = knob(120.0, "Longest pause", "The pause doubles up to it.", gt=0, le=86_400)
    steady_s: float = knob(300.0, "Steady after", "Seconds of health after which pauses are short again.", gt=0)
    scrape_period_s: float = knob(5.0, "Scrape period", "Seconds between two readings of its metrics.", gt=0, le=3600)
    keep_samples_days: int = knob(14, "Keep readings", "Days.", ge=1, le=3650)
    prometheus_url: str | None = knob(None, "Prometheus", "Read metrics from there instead of from the engines.")
    slo_ttft_p95_ms: float = knob(2000.0, "TTFT target", "95 % get their first token within, ms.", gt=0, le=3_600_000)
    slo_itl_p95_ms: float = knob(200.0, "ITL target", "95 % get their next tokens within, ms.", gt=0, le=3_600_000)
    slo_error_rate: float = knob(0.01, "Error target", "Share of calls that may fail.", ge=0, le=1)
    trial_load_s: float = knob(5.0, "Trial load", "Seconds of a fixed load before and after a change.", gt=0, le=600)
    trial_s: float = knob(60.0, "Trial", "Seconds a changed engine is watched; it returns if it misses.", gt=0, le=3600)

    @model_validator(mode="after")
    def _names_differ(self) -> EngineSettings:
        _refuse_repeats("engine", [each.name for each in self.engines])
        ports = [each.port for each in self.engines if each.port is not None]
        _refuse_repeats("port", [str(port) for port in ports])
        return self


def _refuse_repeats(noun: str, names: list[str]) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"{noun} declared twice: {', '.join(repeated)}")
