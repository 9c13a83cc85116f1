"""What is measured: throughput, latency, hits, streams, memory, the LiteLLM path; figures are medians of rounds."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from statistics import linear_regression, median, quantiles
from typing import Any

import orjson

from benchmarks.rig import wire
from benchmarks.rig.load import Job
from benchmarks.rig.machine import cpu_s, rss_mb
from benchmarks.rig.process import Target, begin_load, finish_load, look_at, on_cores
from benchmarks.rig.targets import LITELLM_PATH, STREAMING, Field

Figures = dict[tuple[str, str], float]
"""(measure, target) → figure."""


@dataclass(slots=True)
class Effort:
    """How long and how often."""

    rounds: int = 5
    seconds: float = 5.0
    calls: int = 1000
    memory_calls: int = 100_000
    streams: int = 128
    open_streams: int = 2000
    connections: tuple[int, ...] = (32, 64)


@dataclass(slots=True)
class Notebook:
    """Figures of every round; ``medians`` is what is reported."""

    _rounds: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def write(self, measure: str, target: str, figure: float) -> None:
        """One figure of one round."""
        self._rounds[measure, target].append(figure)

    def medians(self) -> Figures:
        """The median over the rounds."""
        return {key: median(figures) for key, figures in self._rounds.items()}


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def run_load(job: Job, cores: set[int]) -> dict[str, Any]:
    """Run a job to its end; raises ``RuntimeError`` when an answer was not 200."""
    found = finish_load(begin_load(job, cores))
    if found.get("bad") or found.get("broken"):
        raise RuntimeError(f"not every call went well: {job} → {found.get('bad') or found.get('broken')}")
    return found


def measure_throughput(field_: Field, effort: Effort, book: Notebook) -> None:
    """Calls per second and processor time per call, passing through: no two requests alike."""
    for connections in effort.connections:
        for number in range(effort.rounds):
            say(f"pass-through, {connections} connections, round {number + 1}")
            for target in field_.passing_through():
                job = Job("speed", target.port, connections, effort.seconds, prefix=secrets.token_hex(4))
                _measure_speed(f"pass {connections}", job, target, field_.load_cores, book)


def measure_hits(field_: Field, effort: Effort, book: Notebook) -> None:
    """The same for one request over and over: Governor's exact hit, and bare ASGI that answers from memory."""
    prefix = secrets.token_hex(4)
    pair = (field_.remembering, field_.governor)
    for target in pair:
        run_load(Job("speed", target.port, 1, 1.0, repeat=True, prefix=prefix), field_.load_cores)
    seen = look_at(field_.governor.port, wire.body(number=f"{prefix}same"))[b"x-governor-cache"]
    if seen != b"HIT":
        raise RuntimeError(f"a repeated call should be a hit, not {seen.decode()}")
    for number in range(effort.rounds):
        say(f"exact hit, round {number + 1}")
        for target in pair:
            job = Job("speed", target.port, 32, effort.seconds, repeat=True, prefix=prefix)
            _measure_speed("hit", job, target, field_.load_cores, book)


def _measure_speed(measure: str, job: Job, target: Target, cores: set[int], book: Notebook) -> None:
    before = cpu_s(target.pid)
    found = run_load(job, cores)
    book.write(f"{measure} calls/s", target.name, found["calls_per_s"])
    book.write(f"{measure} µs", target.name, (cpu_s(target.pid) - before) / max(found["calls"], 1) * 1e6)


def measure_latency(field_: Field, effort: Effort, book: Notebook) -> None:
    """p50 and p99 at one connection, and what each target adds to the upstream's own."""
    for number in range(effort.rounds):
        say(f"latency, round {number + 1}")
        direct: list[float] = []
        for target in field_.passing_through():
            job = Job("clock", target.port, 1, effort.seconds * 2, effort.calls, prefix=secrets.token_hex(4))
            times = percentiles(run_load(job, field_.load_cores)["times_ms"])
            direct = direct or times
            for name, figure, floor in zip(("p50", "p99"), times, direct, strict=True):
                book.write(f"{name} ms", target.name, figure)
                book.write(f"added {name} ms", target.name, figure - floor)


def percentiles(times: list[float]) -> list[float]:
    """p50 and p99."""
    cuts = quantiles(times, n=100)
    return [cuts[49], cuts[98]]


def measure_streams(field_: Field, effort: Effort, book: Notebook) -> None:
    """Overhead of the first event: from asking to seeing it, less the time the upstream took."""
    for number in range(effort.rounds):
        say(f"{effort.streams} streams, round {number + 1}")
        for target in (field_.streaming, field_.passing, field_.governor):
            job = _stream_job(target, effort.streams, effort.seconds + 1, gap_ms=20, chunks=50)
            before = cpu_s(target.pid)
            found = run_load(job, field_.load_cores)
            share = (cpu_s(target.pid) - before) / (effort.seconds + 1) * 100
            for name, figure in zip(("p50", "p99"), percentiles(found["first_ms"]), strict=True):
                book.write(f"first event {name} ms", target.name, figure)
            book.write("streams core %", target.name, share)


def measure_open_streams(field_: Field, effort: Effort, book: Notebook) -> None:
    """Memory while many streams are open."""
    for target in (field_.passing, field_.governor):
        say(f"{effort.open_streams} open streams: {target.name}")
        job = _stream_job(target, effort.open_streams, 15.0, gap_ms=1000, chunks=1000)
        load = begin_load(job, field_.load_cores)
        if load.stderr is None or not load.stderr.readline():
            raise RuntimeError("the streams could not be opened")
        time.sleep(2.0)
        book.write("open streams MB", target.name, rss_mb(target.pid))
        found = finish_load(load)
        if found["broken"] or len(found["first_ms"]) < effort.open_streams:  # type: ignore[arg-type]
            raise RuntimeError(f"{target.name}: {found['broken']} streams broke")


def _stream_job(target: Target, connections: int, seconds: float, *, gap_ms: int, chunks: int) -> Job:
    model = STREAMING if target.name == "Governor" else wire.MODEL
    job = Job("streams", target.port, connections, seconds, model=model, prefix=secrets.token_hex(4))
    return replace(job, gap_ms=gap_ms, chunks=chunks)


def measure_memory(field_: Field, effort: Effort, book: Notebook) -> None:
    """Resident memory after many different calls, and how much the later half of them added."""
    governor, calls, samples = field_.governor, 0, []
    while calls < effort.memory_calls:
        job = Job("speed", governor.port, 32, min(effort.seconds, 3.0), prefix=secrets.token_hex(4))
        calls += run_load(job, field_.load_cores)["calls"]
        samples.append((calls / 1000.0, rss_mb(governor.pid)))
        say(f"memory: {samples[-1][1]:.1f} MB after {calls} calls")
    book.write("memory MB", governor.name, samples[-1][1])
    book.write("memory kB per 1,000 calls", governor.name, slope(samples) * 1000.0)


def slope(samples: list[tuple[float, float]]) -> float:
    """Growth per unit over the later half of the samples."""
    later = samples[len(samples) // 2 :] if len(samples) > 3 else samples
    return linear_regression(*zip(*later, strict=True)).slope if len(later) > 1 else 0.0


def measure_litellm_path(field_: Field, effort: Effort, book: Notebook) -> None:
    """A provider reached through LiteLLM by Governor, and the same by ``litellm.acompletion`` itself, in turn."""
    governor = field_.governor
    run_load(_litellm_job(governor, 3), field_.load_cores)  # loads the library
    with on_cores(field_.gateway_cores):
        command = [sys.executable, "-m", "benchmarks.rig.litellm_call", str(field_.direct.port)]
        library = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    _ask(library, 20)
    for number in range(effort.rounds):
        say(f"LiteLLM path, round {number + 1}")
        calls = max(effort.calls // 4, 50)
        for pid, name in ((library.pid, "acompletion"), (governor.pid, governor.name)):
            before = cpu_s(pid)
            ours = pid == governor.pid
            job = _litellm_job(governor, calls)
            times = run_load(job, field_.load_cores)["times_ms"] if ours else _ask(library, calls)
            for label, figure in zip(("p50", "p99"), percentiles(times), strict=True):
                book.write(f"litellm {label} ms", name, figure)
            book.write("litellm µs", name, (cpu_s(pid) - before) / calls * 1e6)
    library.communicate("")


def _litellm_job(governor: Target, calls: int) -> Job:
    return Job("clock", governor.port, 1, 120.0, calls, model=LITELLM_PATH, prefix=secrets.token_hex(4))


def _ask(library: subprocess.Popen[str], calls: int) -> list[float]:
    if library.stdin is None or library.stdout is None:
        raise RuntimeError("the process has no pipes")
    library.stdin.write(f"{calls}\n")
    library.stdin.flush()
    times: list[float] = orjson.loads(library.stdout.readline())
    return times


def note_starts(targets: Iterable[Target | None], book: Notebook) -> None:
    """Start times and memory right after the start."""
    for target in targets:
        if target is not None:
            book.write("start s", target.name, target.start_s)
            book.write("start MB", target.name, target.start_mb if target.name != "Governor" else rss_mb(target.pid))
