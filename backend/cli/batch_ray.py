"""A file of requests over a Ray cluster: starts the program that maps it, in the environment that has Ray."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from backend import batch
from backend.cli.database import read_settled_environment
from backend.cli.health import show_address
from backend.cli.output import CommandFailed

SCRIPT = Path(batch.__file__).with_name("ray_run.py")
_PYTHON = Path(__file__).resolve().parents[2] / ".venv-ray" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class RayRun:
    """What is to be run, and where."""

    file: Path
    output: Path
    key: str
    cluster: str | None
    max_cost: str | None


def find_python() -> Path:
    """The interpreter that has Ray: ``GOVERNOR_RAY_PYTHON``, else that of ``make ray``. Raises ``CommandFailed``."""
    python = Path(os.environ.get("GOVERNOR_RAY_PYTHON") or _PYTHON)
    if not python.exists():
        raise CommandFailed("Ray is not installed: `make ray`, or name an interpreter in GOVERNOR_RAY_PYTHON.")
    return python


def run_over_ray(asked: RayRun) -> None:
    """Run the file; the same file again goes on where it was cut off. Raises ``CommandFailed``."""
    environment = read_settled_environment()
    address = show_address(environment.gateway_host, environment.gateway_port)
    command = [str(find_python()), str(SCRIPT), str(asked.file), str(asked.output), "--address", address]
    command += ["--cluster", asked.cluster] if asked.cluster else []
    command += ["--max-cost", asked.max_cost] if asked.max_cost else []
    ended = subprocess.run(command, env={**os.environ, "GOVERNOR_API_KEY": asked.key}, check=False)
    if ended.returncode:
        raise CommandFailed(f"The run is not whole; what came is in {asked.output}. The same command goes on with it.")
