"""Everything that is measured, running: upstreams, bare ASGI, Governor, LiteLLM proxy."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.rig import upstream, wire
from benchmarks.rig.litellm_call import PROVIDER
from benchmarks.rig.litellm_proxy import start_proxy
from benchmarks.rig.machine import pin
from benchmarks.rig.process import ROOT, Target, child_of, free_port, on_cores, start

LITELLM_PATH = "through-litellm"
STREAMING = "streaming"
_UVICORN = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")


@dataclass(slots=True, frozen=True)
class Field:
    """The targets side by side; the upstreams and the load share ``load_cores``."""

    gateway_cores: set[int]
    load_cores: set[int]
    direct: Target
    streaming: Target
    passing: Target
    remembering: Target
    governor: Target
    proxy: Target | None

    def passing_through(self) -> list[Target]:
        """Everyone who answers a call by asking the upstream, the upstream itself first."""
        return [each for each in (self.direct, self.passing, self.governor, self.proxy) if each is not None]


@contextlib.contextmanager
def running(folder: Path, cores: tuple[set[int], set[int]], *, with_proxy: bool) -> Iterator[Field]:
    """Start everything, each on its core; stop everything at the end."""
    gateway_cores, load_cores = cores
    with contextlib.ExitStack() as stack:

        def stop_after(target: Target) -> Target:
            stack.callback(target.stop)
            return target

        with on_cores(load_cores):
            direct = stop_after(start_upstream(folder))
            port = free_port()
            streaming = Target("streaming upstream", port)
            stop_after(start(streaming, _python_upstream(port), folder / "streaming.log"))
        with on_cores(gateway_cores):
            ports = direct.port, streaming.port
            passing = stop_after(_start_bare(folder, "passing", ports))
            remembering = stop_after(_start_bare(folder, "remembering", ports))
            governor = stop_after(start_governor(folder, *ports))
            proxy = stop_after(start_proxy(folder, direct.port)) if with_proxy else None
        if governor.leader is not None:
            pin(child_of(governor.leader.pid, "backend.cli.child", "drainer"), load_cores)
        yield Field(gateway_cores, load_cores, direct, streaming, passing, remembering, governor, proxy)


def start_upstream(folder: Path) -> Target:
    """What gives one fixed completion: nginx where it is installed."""
    port = free_port()
    command = upstream.nginx_command(folder, port) or _python_upstream(port)
    return start(Target("upstream", port), command, folder / "upstream.log")


def _python_upstream(port: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.rig.upstream", str(port)]


def _start_bare(folder: Path, name: str, ports: tuple[int, int]) -> Target:
    port = free_port()
    whole, streaming = (f"http://{wire.HOST}:{each}/v1/chat/completions" for each in ports)
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.rig.bare:{name}", "--port", str(port), *_UVICORN]
    environment = {"BARE_UPSTREAM": whole, "BARE_STREAMING": streaming}
    return start(Target(f"bare ASGI ({name})", port), command, folder / f"{name}.log", environment)


def start_governor(folder: Path, direct_port: int, streaming_port: int, **sections: object) -> Target:
    """The real ``governor gateway`` with one worker, every stage on and the ledger durable; ``sections``: settings."""
    port = free_port()
    environment = {"GOVERNOR_DATA_DIR": str(folder / "data"), "GOVERNOR_GATEWAY_PORT": str(port)}
    settings = folder / "settings.yaml"
    settings.write_bytes(orjson.dumps(_settings(direct_port, streaming_port) | sections))  # JSON is YAML
    governor = [sys.executable, "-m", "backend.cli.main"]
    for words in (["db", "upgrade"], ["settings", "apply", str(settings), "--reason", "benchmark"]):
        everything = {**_plain_environment(), **environment}
        subprocess.run([*governor, *words], env=everything, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    target = start(Target("Governor", port), [*governor, "gateway"], folder / "governor.log", environment)
    if target.leader is not None:
        target.pid = child_of(target.leader.pid, "backend.cli.child", "gateway")
    return target


def _plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GOVERNOR_")}


def _settings(direct_port: int, streaming_port: int) -> dict[str, object]:
    direct, streaming = (f"http://{wire.HOST}:{port}/v1" for port in (direct_port, streaming_port))
    fixed = {"upstream_model": wire.MODEL, "price_model": wire.MODEL}
    return {
        "deployments": [
            {"name": "direct", "model": wire.MODEL, "provider": "openai", "base_url": direct},
            {"name": STREAMING, "model": STREAMING, "provider": "openai", "base_url": streaming, **fixed},
            {"name": LITELLM_PATH, "model": LITELLM_PATH, "provider": PROVIDER, "base_url": direct, **fixed},
        ],
    }
