"""Finding the nearest answered question: time, recall against exact search, and memory, by the number of entries.

All entries lie in one partition, the worst case; vectors are synthetic: clusters of about twenty questions, 384
dimensions. Asked is a paraphrase: a stored vector, moved to a cosine of about 0.95. The look-up in memory is what a
worker does on its event loop; the whole look-up also reads the five nearest entries, with token vectors, from a file.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in the gateway; read when numpy is imported

import numpy as np

from backend.cache.semantic.embedded_index import EmbeddedIndex
from backend.cache.semantic.embedding import Embedding, Vector
from backend.cache.semantic.index import SemanticEntry
from backend.cache.semantic.vectors import Batch, Vectors
from benchmarks.rig.machine import describe, pick_cores, pin, rss_mb

DIMENSION = 384
PARTITION = b"p" * 16
ASKED = 1_000
NEAREST = 5
TOKENS = 12
CHUNK = 4_096
FAR_MS = 2**62
WIDTH = 0.6
"""Spread of a cluster: its members have a cosine of about 0.73 to each other."""


@dataclass(slots=True)
class Measured:
    """One number of entries."""

    entries: int
    build_s: float
    memory_mb: float
    look_up_us: list[float]
    exact_us: float
    recall: float
    whole_us: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also a million entries: minutes, and 3 GB")
    options = parser.parse_args()
    machine, when = describe(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    pin(os.getpid(), pick_cores()[0])
    sizes = [1_000, 10_000, 100_000, *([1_000_000] if options.full else [])]
    rows = [measure(entries) for entries in sizes]
    print(f"{when}. {machine}. {ASKED:,} look-ups of the {NEAREST} nearest, one partition, one thread.")
    print(f"`{' '.join(['python', *sys.argv])}`\n")
    print("| entries | build | memory | look-up p50 | p99 | recall@1 | whole look-up p50 | p99 | comparing with all |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        show(row)
    print("\nGoal at 100,000 entries: look-up ≤ 200 µs, recall@1 ≥ 0.99.")


def show(row: Measured) -> None:
    whole = f"{median(row.whole_us):,.0f} µs | {late(row.whole_us):,.0f} µs" if row.whole_us else "| "
    print(
        f"| {row.entries:,} | {row.build_s:,.1f} s | {row.memory_mb:,.0f} MB | {median(row.look_up_us):,.0f} µs "
        f"| {late(row.look_up_us):,.0f} µs | {row.recall:.4f} | {whole} | {row.exact_us:,.0f} µs |"
    )


def late(spent: list[float]) -> float:
    """The 99th percentile."""
    return float(np.percentile(spent, 99))


def measure(entries: int) -> Measured:
    stored = make_stored(entries)
    asked, right = make_asked(stored)
    before = rss_mb(os.getpid())
    vectors, build_s = build(stored)
    memory_mb = rss_mb(os.getpid()) - before
    spent, found = look_up(vectors, asked)
    recall = float(np.mean(np.array(found) == right))
    del vectors
    exact_us = measure_exact(stored[:CHUNK].astype(np.float32), asked) * max(entries / CHUNK, 1.0)
    whole_us = asyncio.run(measure_whole(stored, asked)) if entries <= 100_000 else []
    return Measured(entries, build_s, memory_mb, spent, exact_us, recall, whole_us)


def look_up(vectors: Vectors, asked: Vector) -> tuple[list[float], list[int]]:
    """Microseconds of each look-up, and what it found nearest."""
    spent, found = [], []
    for one in asked:
        began = time.perf_counter()
        nearest = vectors.search(PARTITION, one, NEAREST)
        spent.append((time.perf_counter() - began) * 1e6)
        found.append(nearest[0][0])
    return spent, found


def measure_exact(block: Vector, asked: Vector) -> float:
    """Microseconds of the median comparison with every row of a block."""
    spent = []
    for one in asked:
        began = time.perf_counter()
        np.dot(block, one)
        spent.append((time.perf_counter() - began) * 1e6)
    return median(spent)


def make_stored(entries: int) -> np.ndarray:
    """Unit vectors in clusters, as float16, oldest first."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((max(entries // 20, 1), DIMENSION), np.float32)
    stored = np.empty((entries, DIMENSION), np.float16)
    for start in range(0, entries, CHUNK):
        count = min(CHUNK, entries - start)
        rows = centres[random.integers(0, len(centres), count)]
        rows = rows + WIDTH * random.standard_normal((count, DIMENSION), np.float32)
        stored[start : start + count] = normalise(rows)
    return stored


def make_asked(stored: np.ndarray) -> tuple[Vector, np.ndarray]:
    """Paraphrases of stored vectors, and the number of the stored vector that exact search finds nearest."""
    random = np.random.default_rng(8)
    near = stored[random.integers(0, len(stored), ASKED)].astype(np.float32)
    asked = normalise(near + 0.33 * normalise(random.standard_normal((ASKED, DIMENSION), np.float32)))
    best, right = np.full(ASKED, -2.0, np.float32), np.zeros(ASKED, np.int64)
    for start in range(0, len(stored), CHUNK):
        cosines = stored[start : start + CHUNK].astype(np.float32) @ asked.T
        top = cosines.argmax(axis=0)
        better = cosines[top, np.arange(ASKED)] > best
        best[better], right[better] = cosines[top, np.arange(ASKED)][better], top[better] + start
    return asked, right


def normalise(rows: np.ndarray) -> Vector:
    unit: Vector = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def build(stored: np.ndarray) -> tuple[Vectors, float]:
    """As a worker loads them: in chunks, from a thread."""
    vectors = Vectors(DIMENSION, len(stored) + 1)
    began = time.perf_counter()
    for start in range(0, len(stored), CHUNK):
        rows = stored[start : start + CHUNK].astype(np.float32)
        labels = np.arange(start, start + len(rows))
        vectors.add(Batch(labels, [PARTITION] * len(rows), np.full(len(rows), FAR_MS), rows))
    return vectors, time.perf_counter() - began


async def measure_whole(stored: np.ndarray, asked: Vector) -> list[float]:
    """Microseconds of look-ups through the index in a file."""
    with tempfile.TemporaryDirectory(prefix="governor-bench-") as folder:
        index = EmbeddedIndex(Path(folder) / "semantic.db", "benchmark", DIMENSION, len(stored) + 1)
        tokens = np.stack([stored[number % len(stored)].astype(np.float32) for number in range(TOKENS)])
        for number in range(len(stored)):
            index.add(make_entry(number, stored[number].astype(np.float32), tokens))
            while number % 2_000 == 1_999 and len(index) <= number:  # noqa: ASYNC110 - a thread sets no event
                await asyncio.sleep(0.01)
        while len(index) < len(stored):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        spent = []
        for one in asked:
            began = time.perf_counter()
            await index.nearest(PARTITION, one, NEAREST)
            spent.append((time.perf_counter() - began) * 1e6)
        await index.close()
    return spent


def make_entry(number: int, vector: Vector, tokens: Vector) -> SemanticEntry:
    question = f"What does the plan number {number} cost in the first year?"
    embedding = Embedding(vector, tokens, ("piece",) * TOKENS)
    return SemanticEntry(f"call-{number}", PARTITION, "t", "m", question, embedding, b"k" * 16, 0, FAR_MS)


if __name__ == "__main__":
    main()
