"""The engine: through Governor and direct, batching beside Hugging Face generate, quantised, prefix cache, guesses.

A real vLLM, launched as Governor launches it, on a model made on the spot: a tiny one by default, of a real size with
``--size 1b|7b`` where there is a GPU. Direct and through Governor in rounds in turn; prints Markdown tables.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.engine.gpu import read_gpus
from backend.engine.quality import compare_scores, cut_rows, score_served, tokenise
from backend.engine.shapes import Shape
from backend.engine.stages import Stage
from benchmarks.rig.engines import TINY, Bench, gateway_before, say, split_cores
from benchmarks.rig.machine import describe
from benchmarks.rig.process import ROOT

STEPS = ("gateway", "generate", "variants", "prefix", "speculation")
CONNECTIONS = (1, 8, 32)


def main() -> None:
    options = _read_options()
    when, shape = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), Shape(*map(int, options.shape.split(":")))
    with contextlib.ExitStack() as stack:
        folder = Path(options.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="governor-bench-")))
        bench = Bench(folder.resolve(), options.size, options.seconds, min(options.seconds / 3, 2.0))
        bench.knobs = _knobs(options.size, shape)
        gpus = read_gpus()
        beside = ", ".join(gpu.name for gpu in gpus.gpus) or "no GPU"
        print(
            f"{when}. {describe()}; {beside}. vLLM's model {options.size}, {shape} tokens, {options.rounds} rounds of ",
            end="",
        )
        print(f"{options.seconds:g} s.\n`{' '.join(['python', *sys.argv])}`\n")
        if {"gateway", "generate"} & set(options.only):
            measure_plain(bench, shape, options)
        if "variants" in options.only:
            measure_variants(bench, shape)
        if "prefix" in options.only:
            measure_prefix(bench, shape)
        if "speculation" in options.only:
            measure_speculation(bench, shape)


def measure_plain(bench: Bench, shape: Shape, options: argparse.Namespace) -> None:
    """Direct and through Governor in turn; then transformers on the same model, when the engine has ended."""
    found: dict[tuple[str, int], list[Stage]] = {}
    with bench.engine("bf16", prefix_caching=False) as direct, contextlib.ExitStack() as stack:
        places = {"direct": direct}
        if "gateway" in options.only:
            places["Governor"] = stack.enter_context(gateway_before(direct, bench))
        for turn, count in itertools.product(range(options.rounds), CONNECTIONS):
            say(f"round {turn + 1}, {count} connections")
            for name in sorted(places, reverse=turn % 2 == 1):  # who goes first changes from round to round
                stage = bench.load(places[name], shape, count, seed=turn * 100 + count)
                found.setdefault((name, count), []).append(stage)
    if "gateway" in options.only:
        show_gateway(found)
    if "generate" in options.only:
        say("Hugging Face generate")
        show_generate(bench.generate(bench.model("bf16"), (1, 8, 32), options.calls, shape), found)


def show_gateway(found: Mapping[tuple[str, int], Sequence[Stage]]) -> None:
    print("| connections | direct, tokens/s | through Governor | ratio | TTFT p50 direct | through Governor |")
    print("|---:|---:|---:|---:|---:|---:|")
    for count in CONNECTIONS:
        direct, ours = found["direct", count], found["Governor", count]
        one, two = speed(direct), speed(ours)
        print(
            f"| {count} | {one:,.0f} | {two:,.0f} | **{two / one:.2f}** "
            f"| {first_ms(direct):,.1f} ms | {first_ms(ours):,.1f} ms |"
        )
    print("\nGoal: ratio ≥ 0.97 at 32 connections.\n")


def show_generate(alone: Mapping[int, Mapping[str, float]], found: Mapping[tuple[str, int], Sequence[Stage]]) -> None:
    print("| the same model, tokens/s | 1 at once | 8 | 32 |")
    print("|---|---:|---:|---:|")
    print(
        "| Hugging Face generate, static batches | "
        + " | ".join(f"{alone[n]['tokens_per_s']:,.0f}" for n in alone)
        + " |"
    )
    engine = {count: speed(found["direct", count]) for count in CONNECTIONS}
    print("| vLLM, continuous batching | " + " | ".join(f"{value:,.0f}" for value in engine.values()) + " |")
    ratio = engine[32] / alone[1]["tokens_per_s"]
    print(f"\nContinuous batching at 32 against generate one by one: **{ratio:.1f} ×** (goal ≥ 8).\n")


def measure_variants(bench: Bench, shape: Shape) -> None:
    """The same load on full and quantised weights, and what these think of a text beside the full ones."""
    print(
        "| weights | on disk | tokens/s at 1 | at 32 | TTFT p50 at 32 | ITL p50 at 32 | perplexity | same best token |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    rows, full = list[list[int]](), None
    for name in ("bf16", "w4a16", "w8a8"):
        with bench.engine(name, prefix_caching=False) as place:
            alone, many = bench.load(place, shape, 1), bench.load(place, shape, 32)
            rows = rows or cut_rows(tokenise(place, (ROOT / "README.md").read_text("utf-8")), 128, 16)
            scores = score_served(place, rows)
        full = full or scores
        found = compare_scores(full, scores)
        size = sum(path.stat().st_size for path in bench.model(name).glob("*.safetensors")) / 1e6
        itl = many.itl.p50_ms if many.itl else 0.0
        print(
            f"| {name} | {size:,.1f} MB | {alone.completion_tokens_per_s:,.0f} "
            f"| {many.completion_tokens_per_s:,.0f} | {first_ms([many]):,.1f} ms | {itl:,.1f} ms "
            f"| × {found.perplexity_ratio:.4f} | {found.agreement:.1%} |"
        )
    print()


def measure_prefix(bench: Bench, shape: Shape) -> None:
    """Prompts whose first nine tenths are the same, with the prefix cache off and on."""
    long = shape.prompt_tokens * 8
    shared = Shape(long, shape.completion_tokens // 4 or 1, long * 9 // 10)
    print(
        f"| prefix cache, {shared} tokens at 8 | tokens/s | TTFT p50 | TTFT p95 | hit rate |\n|---|---:|---:|---:|---:|"
    )
    for on in (False, True):
        with bench.engine("bf16", prefix_caching=on) as place:
            stage = bench.load(place, shared, 8)
        hits = (stage.seen or {}).get("prefix_hit_rate") or 0.0
        late = stage.ttft.p95_ms if stage.ttft else 0.0
        print(
            f"| {'on' if on else 'off'} | {stage.completion_tokens_per_s:,.0f} "
            f"| {first_ms([stage]):,.1f} ms | {late:,.1f} ms | {hits:.0%} |"
        )
    print()


def measure_speculation(bench: Bench, shape: Shape) -> None:
    """Guessing from the prompt's own n-grams, off and on."""
    print("| n-gram guesses | tokens/s at 1 | at 8 | accepted | tokens a step |\n|---|---:|---:|---:|---:|")
    for method in ("off", "ngram"):
        with bench.engine("bf16", prefix_caching=False, speculation={"method": method}) as place:
            one, eight = bench.load(place, shape, 1), bench.load(place, shape, 8)
        seen = eight.seen or {}
        accepted, yielded = seen.get("acceptance"), seen.get("tokens_per_draft")
        print(
            f"| {method} | {one.completion_tokens_per_s:,.0f} | {eight.completion_tokens_per_s:,.0f} "
            f"| {'–' if accepted is None else f'{accepted:.0%}'} | {'–' if yielded is None else f'{yielded:.2f}'} |"
        )
    print("\nRandom weights repeat themselves more than real text does: real acceptance is lower.")


def speed(stages: Sequence[Stage]) -> float:
    """Median completion tokens per second."""
    return median(stage.completion_tokens_per_s for stage in stages)


def first_ms(stages: Sequence[Stage]) -> float:
    """Median of the median times to the first token."""
    return median(stage.ttft.p50_ms for stage in stages if stage.ttft)


def _knobs(size: str, shape: Shape) -> dict[str, object]:
    context = max(shape.prompt_tokens * 8 + shape.completion_tokens, 1024)
    common: dict[str, object] = {"max_num_seqs": 64, "max_model_len": context, "offline": True, "cpu_kv_cache_gb": 1}
    common["cpu_threads"] = max(len(split_cores()[0]), 1)
    return common | ({"extra_args": ["--enforce-eager"]} if size == TINY else {})


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default=TINY, choices=[TINY, "100m", "1b", "7b"], help="model size")
    parser.add_argument("--shape", default="64:32", help="tokens of prompt and answer")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of direct and through Governor")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one measured load")
    parser.add_argument("--calls", type=int, default=64, help="calls of Hugging Face generate")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS), help="only these measures")
    parser.add_argument("--folder", help="folder for models and logs, kept; a temporary one otherwise")
    return parser.parse_args()


if __name__ == "__main__":
    main()
