"""LiteLLM's proxy: installed into an environment of its own from locked requirements, run without a database."""

from __future__ import annotations

from pathlib import Path

from benchmarks.rig import wire
from benchmarks.rig.environment import install
from benchmarks.rig.process import Target, free_port, start

PEER = "litellm"
_CONFIGURATION = """
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "http://{host}:{upstream}/v1", api_key: sk-none}}
litellm_settings: {{telemetry: false}}
"""


def start_proxy(folder: Path, upstream_port: int) -> Target:
    """Start it with one worker in front of the upstream, installed if need be."""
    configuration, port = folder / "litellm.yaml", free_port()
    configuration.write_text(_CONFIGURATION.format(model=wire.MODEL, host=wire.HOST, upstream=upstream_port))
    command = [str(install(PEER) / "litellm"), "--config", str(configuration), "--host", wire.HOST, "--port", str(port)]
    environment = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "PYTHONPATH": "",
    }
    return start(Target("LiteLLM proxy", port), [*command, "--num_workers", "1"], folder / "litellm.log", environment)
