"""LiteLLM's proxy: installed into an environment of its own from locked requirements, run without a database."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.rig import wire
from benchmarks.rig.process import ROOT, Target, free_port, start

REQUIREMENTS = ROOT / "requirements" / "bench-litellm.txt"
VENV = ROOT / ".venv-bench-litellm"
_CONFIGURATION = """
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "http://{host}:{upstream}/v1", api_key: sk-none}}
litellm_settings: {{telemetry: false}}
"""


def install() -> None:
    """Make the environment unless it is there already, for these very requirements."""
    stamp, wanted = VENV / "installed.txt", REQUIREMENTS.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    print(f"installing LiteLLM proxy into {VENV.name} …", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--require-hashes", "-r", str(REQUIREMENTS)], check=True)
    stamp.write_text(wanted)


def start_proxy(folder: Path, upstream_port: int) -> Target:
    """Start it with one worker in front of the upstream."""
    configuration, port = folder / "litellm.yaml", free_port()
    configuration.write_text(_CONFIGURATION.format(model=wire.MODEL, host=wire.HOST, upstream=upstream_port))
    command = [str(VENV / "bin" / "litellm"), "--config", str(configuration), "--host", wire.HOST, "--port", str(port)]
    environment = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "PYTHONPATH": "",
    }
    return start(Target("LiteLLM proxy", port), [*command, "--num_workers", "1"], folder / "litellm.log", environment)
