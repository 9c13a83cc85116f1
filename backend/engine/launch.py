"""From an engine's specification to the command and the environment vLLM is started with; nothing is started here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from backend.settings.knobs import EngineSpec
from backend.settings.knobs.engine import Speculation

LOOPBACK = "127.0.0.1"
PYTHON_VARIABLE = "GOVERNOR_ENGINE_PYTHON"
HOST_VARIABLE = "GOVERNOR_ENGINE_HOST"
_MODULE = "vllm.entrypoints.cli.main"
_ROOT = Path(__file__).resolve().parents[2]

_NAMES = (
    "PATH HOME USER LANG LANGUAGE LC_* TZ TMPDIR TEMP XDG_* LD_LIBRARY_PATH LD_PRELOAD CUDA_* NVIDIA_* NCCL_* TRITON_* "
    "TORCH* VLLM_* RAY_* OMP_* KMP_* HF_* TRANSFORMERS_* http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY "
    "NO_PROXY SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CC CXX"
)
_PASSED = tuple(_NAMES.split())
"""What an engine may know of this process's environment: no provider's key, nothing of Governor's own."""

_ONLINE = {"int8": "int8_per_channel_weight_only"}
"""What vLLM calls a quantisation that it does itself while it loads the weights."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A command, its whole environment and where it will listen."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    host: str = LOOPBACK

    @property
    def url(self) -> str:
        """Where it will answer, up to and including /v1."""
        return f"http://{self.host}:{self.port}/v1"


def find_python(environment: Mapping[str, str]) -> Path:
    """The Python that has vLLM: named by ``GOVERNOR_ENGINE_PYTHON``, else of the environment ``make engine`` makes."""
    named = environment.get(PYTHON_VARIABLE)
    return Path(named) if named else _ROOT / ".venv-engine" / "bin" / "python"


def plan_launch(spec: EngineSpec, port: int, *, drain_s: float, environment: Mapping[str, str]) -> Launch:
    """How a managed engine is started on this port; ``drain_s`` is how long it finishes open calls when it ends."""
    host = environment.get(HOST_VARIABLE) or LOOPBACK
    argv = [str(find_python(environment)), "-P", "-m", _MODULE, "serve", spec.model, "--host", host]
    argv += _options(spec, port)
    argv += ["--shutdown-timeout", str(round(drain_s)), *spec.extra_args]
    return Launch(tuple(argv), _environment(spec, environment), port, host)


def _options(spec: EngineSpec, port: int) -> list[str]:
    pairs = {
        "served-model-name": spec.served,
        "port": port,
        "dtype": spec.dtype,
        "max-num-seqs": spec.max_num_seqs,
        "gpu-memory-utilization": spec.gpu_memory_utilization,
        "max-model-len": spec.max_model_len,
        "max-num-batched-tokens": spec.max_num_batched_tokens,
        "quantization": None if spec.quantisation == "none" else _ONLINE.get(spec.quantisation, spec.quantisation),
        "speculative-config": _speculation(spec.speculation),
    }
    options = [part for name, value in pairs.items() if value is not None for part in (f"--{name}", str(value))]
    prefix = "--enable-prefix-caching" if spec.prefix_caching else "--no-enable-prefix-caching"
    return [*options, prefix, "--disable-uvicorn-access-log", *_parallel(spec), *_lora(spec)]


def _speculation(spec: Speculation) -> str | None:
    """What vLLM calls ``speculative-config``, as JSON; None when it shall not guess."""
    if spec.method == "off":
        return None
    if spec.method == "draft":
        found = {"method": "draft_model", "model": spec.draft_model, "num_speculative_tokens": spec.tokens}
    else:
        found = {"method": "ngram", "num_speculative_tokens": spec.tokens}
        found |= {"prompt_lookup_max": spec.lookup_max, "prompt_lookup_min": spec.lookup_min}
    return json.dumps(found)


def _parallel(spec: EngineSpec) -> list[str]:
    if spec.gpus == 1 and spec.executor == "mp":
        return []
    sizes = ["--tensor-parallel-size", str(spec.tensor_parallel), "--pipeline-parallel-size"]
    return [*sizes, str(spec.pipeline_parallel), "--distributed-executor-backend", spec.executor]


def _lora(spec: EngineSpec) -> list[str]:
    if not spec.lora_modules:
        return []
    return ["--enable-lora", "--lora-modules", *(f"{each.name}={each.path}" for each in spec.lora_modules)]


def _environment(spec: EngineSpec, environment: Mapping[str, str]) -> dict[str, str]:
    passed = {name: value for name, value in environment.items() if any(fnmatchcase(name, known) for known in _PASSED)}
    return passed | dict(_variables(spec))


def _variables(spec: EngineSpec) -> Iterator[tuple[str, str]]:
    yield "VLLM_NO_USAGE_STATS", "1"
    yield "VLLM_CPU_KVCACHE_SPACE", str(spec.cpu_kv_cache_gb)
    if spec.cpu_threads is not None:
        yield "OMP_NUM_THREADS", str(spec.cpu_threads)
    if spec.devices is not None:
        yield "CUDA_VISIBLE_DEVICES", spec.devices
    if spec.offline:
        yield "HF_HUB_OFFLINE", "1"
