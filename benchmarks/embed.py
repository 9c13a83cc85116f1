"""The built-in embedder: one question alone, and what gathering the questions of many callers gains.

The same weights three ways in one process on one core: int8 (what Governor uses), float32 in ONNX Runtime, plain numpy.
The first two take turns of 50 questions, so that what else the machine does falls on both; tokenising is included
everywhere. Then 64 callers at a time ask one question after another through the micro-batcher.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported: one core is measured

import numpy as np
import onnxruntime

from backend.cache.semantic.batcher import Batcher
from backend.cache.semantic.minilm import BuiltIn, Model, find_package_file, load
from backend.cache.semantic.minilm_graph import build_graph, read_weights
from benchmarks.rig.machine import describe, pick_cores, pin, rss_mb
from tests.cache.semantic import plain_minilm

SUBJECTS = ["password", "invoice", "subscription", "delivery address", "refund", "two-factor sign-in", "team plan"]
ASKS = [
    "How do I change {} {day}?",
    "Where can I see the {} of account {day}?",
    "I was told that my {} is on hold since {day} o'clock, what should I do now?",
    "Can you cancel the {} I asked for on March {day}?",
    "What happens to my {} when I move to another country within the next {day} days?",
]
TURN = 50
QUESTIONS = [ask.format(subject, day=day) for day in range(1, 31) for subject in SUBJECTS for ask in ASKS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1_000, help="questions asked one at a time")
    parser.add_argument("--callers", type=int, default=64, help="callers at a time")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the micro-batcher, the sizes in turn")
    options = parser.parse_args()
    machine, when = describe(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    with tempfile.TemporaryDirectory(prefix="governor-bench-") as folder:
        before, empty_mb = time.perf_counter(), rss_mb(os.getpid())
        model = load(Path(folder))
        built_s, held_mb, before = time.perf_counter() - before, rss_mb(os.getpid()) - empty_mb, time.perf_counter()
        model = load(Path(folder))
        loaded_s = time.perf_counter() - before
        pin(os.getpid(), pick_cores()[0])
        alone = measure_alone(model, options.texts)
        rates = asyncio.run(measure_batches(model, options.callers, options.rounds))
    print(f"{when}. {machine}. {len(QUESTIONS):,} different questions, one core.")
    print(f"`{' '.join(['python', *sys.argv])}`\n")
    print("| | measured | goal |\n|---|---|---|")
    print(f"| build the model, once | {built_s:.1f} s | |")
    print(f"| load and check it, at every start | {loaded_s:.2f} s, {held_mb:.0f} MB | |")
    show_alone(alone)
    for size, rate in rates.items():
        gain = f", {rate / rates[1]:.2f} × one at a time" if size != 1 else ""
        print(f"| {options.callers} callers, batches of at most {size} | {rate:,.0f} texts/s{gain} | |")


def show_alone(alone: dict[str, list[float]]) -> None:
    for name, spent_ms in alone.items():
        p50, p99 = np.percentile(spent_ms, [50, 99])
        goal = "p50 ≤ 1.5 ms" if name.startswith("int8") else ""
        print(f"| one question, {name} | p50 {p50:.2f} ms, p99 {p99:.2f} ms | {goal} |")


def measure_alone(model: Model, texts: int) -> dict[str, list[float]]:
    """Milliseconds of each question by each way; plain numpy, whose threads spin for a while, comes last."""
    weights = read_weights(find_package_file("model.safetensors"))
    weights = {name: np.array(value) for name, value in weights.items()}
    with tempfile.TemporaryDirectory(prefix="governor-bench-") as folder:
        path = Path(folder) / "float32.onnx"
        path.write_bytes(build_graph(weights).SerializeToString())
        exact = Model(path, find_package_file("tokenizer.json"))

    def plain(text: str) -> object:
        return plain_minilm.embed(weights, model.tokenise(text))

    ways: dict[str, Callable[[str], object]] = {
        f"int8 in ONNX Runtime {onnxruntime.__version__}": model.embed,
        "float32 in ONNX Runtime": exact.embed,
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for start in range(0, texts, TURN):
        for name, way in ways.items():
            spent[name] += [timed_ms(way, text) for text in islice(cycle(QUESTIONS), start, start + TURN)]
    slow = f"float32 in numpy {np.__version__}, every tenth of them"
    spent[slow] = [timed_ms(plain, text) for text in islice(cycle(QUESTIONS), 0, texts, 10)]
    return spent


def timed_ms(way: Callable[[str], object], text: str) -> float:
    before = time.perf_counter_ns()
    way(text)
    return (time.perf_counter_ns() - before) / 1e6


async def measure_batches(model: Model, callers: int, rounds: int) -> dict[int, float]:
    """Texts per second by greatest batch, medians."""
    embedder = BuiltIn(model)
    rates: dict[int, list[float]] = {size: [] for size in (1, 8, 16, 32)}
    for _ in range(rounds):
        for size, found in rates.items():
            found.append(await measure_rate(embedder, callers, size))
    await embedder.close()
    return {size: median(found) for size, found in rates.items()}


async def measure_rate(embedder: BuiltIn, callers: int, size: int) -> float:
    batcher, left = Batcher(embedder.embed, lambda: size, lambda: 2.0), list(QUESTIONS)

    async def ask() -> None:
        while left:
            await batcher.embed([left.pop()])

    before = time.perf_counter()
    await asyncio.gather(*[ask() for _ in range(callers)])
    await batcher.close()
    return len(QUESTIONS) / (time.perf_counter() - before)


if __name__ == "__main__":
    main()
