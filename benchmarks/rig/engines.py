"""Models and engines for a benchmark: made on the spot, launched one after the other, loaded in rounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.engine.health import Place
from backend.engine.launch import find_python
from backend.engine.load import Load, run_load
from backend.engine.scrape import compare, take_reading
from backend.engine.scratch import launched
from backend.engine.shapes import Shape
from backend.engine.stages import Slo, Stage, label_stage, sum_up
from backend.settings.knobs import EngineSpec
from benchmarks.rig.process import ROOT, on_cores
from benchmarks.rig.targets import start_governor
from benchmarks.rig.wire import MODEL

INSIDE = ROOT / "backend" / "engine" / "inside"
TINY = "tiny"
GENEROUS = Slo(1e9, 1e9, 1.0)


def split_cores() -> tuple[set[int], set[int], set[int]]:
    """Cores of the engine, the gateway and the load; gateway and load share one where there are fewer than four."""
    if not hasattr(os, "sched_getaffinity"):
        return set(), set(), set()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return set(cores), set(cores), set(cores)
    if len(cores) < 4:
        return set(cores[:-1]), {cores[-1]}, {cores[-1]}
    return set(cores[:-2]), {cores[-2]}, {cores[-1]}


@dataclass(slots=True)
class Bench:
    """Where models and logs stand, how long each load is measured, and the common knobs of every engine."""

    folder: Path
    size: str = TINY
    measure_s: float = 8.0
    warm_up_s: float = 2.0
    knobs: dict[str, Any] = field(default_factory=dict)
    cores: tuple[set[int], set[int], set[int]] = field(default_factory=split_cores)
    """Of the engine, the gateway and the load."""

    @property
    def python(self) -> Path:
        """The engine's Python."""
        return find_python(os.environ)

    def model(self, name: str) -> Path:
        """The folder of a model: bf16, draft, w4a16 or w8a8, made when first asked for."""
        folder = self.folder / "models"
        if self.size == TINY:
            self._run(ROOT / "tests" / "tiny_models.py", str(folder), name)
            return folder / name
        if name == "bf16":
            self._run(ROOT / "benchmarks" / "rig" / "random_model.py", str(folder / name), self.size)
        elif not (folder / name / "config.json").exists():
            full = self.model("bf16")
            self._run(INSIDE / "quantise.py", str(full), str(folder / name), "--scheme", name.upper())
        return folder / name

    def generate(self, model: Path, batches: tuple[int, ...], calls: int, shape: Shape) -> dict[int, dict[str, float]]:
        """What Hugging Face generate does on the same model, by batch size."""
        options = [part for batch in batches for part in ("--batch", str(batch))]
        options += ["--calls", str(calls), "--shape", str(shape)]
        with on_cores(self.cores[0]):  # as many as the engine has
            said = self._run(INSIDE / "generate.py", str(model), *options)
        lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        return {int(line["batch"]): line for line in lines}

    @contextmanager
    def engine(self, model: str, **knobs: Any) -> Iterator[Place]:
        """An engine that serves one of the models."""
        path = self.model(model)
        say(f"launching {model} {knobs or ''}")
        spec = EngineSpec(name="bench", model=str(path), **{**self.knobs, **knobs})
        with contextlib.ExitStack() as stack:
            with on_cores(self.cores[0]):
                place = stack.enter_context(launched(spec, self.folder / "engines"))
            stack.enter_context(on_cores(self.cores[2]))
            yield place

    def load(self, place: Place, shape: Shape, concurrency: int, seed: int = 1) -> Stage:
        """One load, measured by the caller and by the engine."""
        load = Load(place, (shape,), concurrency, "vllm", self.warm_up_s, self.measure_s, seed=seed)
        before = take_reading(place.url) if place.model != MODEL else None
        stage = sum_up(asyncio.run(run_load(load)), concurrency, str(shape), GENEROUS)
        if stage.failed:
            say(f"{stage.failed} of {stage.calls} calls failed: {stage.error}")
        seen = compare(before, take_reading(place.url)).figures() if before else None
        return label_stage(stage, None, seen)

    def _run(self, script: Path, *arguments: str) -> str:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        log = (self.folder / "scripts.log").open("ab")
        with log:
            command = [str(self.python), str(script), *arguments]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, env=environment, check=False)
        if done.returncode:
            raise RuntimeError(f"{script.name} failed; see {self.folder / 'scripts.log'}")
        return done.stdout.decode()


@contextmanager
def gateway_before(place: Place, bench: Bench) -> Iterator[Place]:
    """Governor, one worker with every stage on, in front of an engine."""
    folder = bench.folder / "governor"
    folder.mkdir(parents=True, exist_ok=True)
    deployment = {"name": "engine", "model": MODEL, "provider": "vllm", "base_url": place.url}
    deployments = [deployment | {"upstream_model": place.model, "price": {"input": "0.05", "output": "0.20"}}]
    port = int(place.url.rpartition(":")[2].partition("/")[0])
    with on_cores(bench.cores[1]):
        target = start_governor(folder, port, port, deployments=deployments)
    try:
        yield Place(f"http://127.0.0.1:{target.port}/v1", MODEL)
    finally:
        target.stop()


def say(text: str) -> None:
    """Progress, beside the result."""
    print(text, file=sys.stderr, flush=True)
