"""Semantic hits: how long one takes end to end, and how many are right, side by side with GPTCache.

First the real ``governor gateway`` with one worker on one core and a client on another: misses, exact and semantic hits
by turns, and the misses of a gateway without the semantic layer. Then a stream of questions whose truth is known, in
process, through Governor's cache and through GPTCache with the same embedder, each on one core. Governor learns from
nothing; the figures of both are of the second half of the stream.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported: one core is measured

import numpy as np

from backend.cache.semantic.judge import Judge
from backend.cache.semantic.minilm import NAME, load
from backend.settings.knobs import CacheSettings
from benchmarks.rig import semantic_gateway
from benchmarks.rig.answers import KnowingModel
from benchmarks.rig.hit_quality import Quality, answer_all, judge, play_gptcache, share_mislabelled
from benchmarks.rig.known_stream import Item, make_stream
from benchmarks.rig.machine import describe, pick_cores, pin
from benchmarks.rig.questions import available
from benchmarks.rig.semantic_gateway import EXACT_HIT, MISS, SEMANTIC_HIT, Replies, Reply
from benchmarks.rig.semantic_stream import Played, Stage, play

COSINES = {0.8: 0.6, 0.95: 0.9, 0.98: 0.96, 0.99: 0.98}
"""GPTCache's similarity thresholds, its default first, and the cosine each stands for: 2 t − 1."""
RATES = (0.01, 0.02)
PARTS = ("gateway", "quality")
_JUDGED = ", answers reworded, with a judge"
_JUDGE_ERROR = 0.01
"""How often the judge that stands in for a model is wrong."""
_MEMORY = Path("/dev/shm")
"""Where the files of both caches lie, if there is such a place: disks are not compared."""


def main() -> None:
    options = _read_options()
    if "gateway" in options.only:
        machine, when = describe(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        with tempfile.TemporaryDirectory(prefix="governor-bench-") as folder:
            cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
            replies = semantic_gateway.measure(Path(folder), options.rounds, options.questions)
            pin(os.getpid(), cores)
        print(f"{when}. {machine}. {options.rounds} rounds of {options.questions} questions, one after the other.")
        print(f"`{' '.join(['python', *sys.argv])}`\n")
        _show_gateway(replies)
    if "quality" in options.only:
        _compare(options)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds through the gateway")
    parser.add_argument("--questions", type=int, default=200, help="questions of each kind in a round")
    parser.add_argument("--lookups", type=int, default=5_000, help="questions of the stream with known truth")
    parser.add_argument("--seed", type=int, default=1, help="of the stream")
    parser.add_argument("--all-intents", action="store_true", help="also those the default verifier was fitted on")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="only this part")
    parser.add_argument("--no-gptcache", action="store_true", help="leave GPTCache out; nothing is installed")
    return parser.parse_args()


def _show_gateway(replies: Replies) -> None:
    print("| | p50 | p99 | goal |\n|---|---:|---:|---|")
    semantic = _times(replies.semantic, SEMANTIC_HIT)
    rows = (
        ("semantic hit", semantic, f"p50 ≤ 2 ms: {'met' if np.median(semantic) <= 2.0 else '**missed**'}"),
        ("of it embedding, as the ledger has it", replies.embed_ms, ""),
        ("of it all that the gateway adds, as the ledger has it", replies.overhead_ms, ""),
        ("exact hit", _times(replies.exact, EXACT_HIT), ""),
        ("miss, upstream of the bench included", _times(replies.miss, MISS), ""),
        ("miss without the semantic layer", _times(replies.without, MISS), ""),
    )
    for name, spent_ms, goal in rows:
        p50, p99 = np.percentile(spent_ms, [50, 99])
        print(f"| {name} | {p50:.2f} ms | {p99:.2f} ms | {goal} |")
    added = np.median(_times(replies.miss, MISS)) - np.median(_times(replies.without, MISS))
    print(f"| the semantic layer adds to a miss | {added:.2f} ms | | |")
    print(f"\n{len(semantic):,} of {len(replies.semantic):,} questions in other words were semantic hits.\n")


def _times(replies: Sequence[Reply], kind: str) -> list[float]:
    """Milliseconds of those replies that are of this kind."""
    return [reply.spent_ms for reply in replies if reply.kind == kind] or [float("nan")]


def _compare(options: argparse.Namespace) -> None:
    """Both caches over one stream."""
    if not available():
        print("The stream with known truth needs the data in ../shared/data (support, intents): left out.")
        return
    machine, when = describe(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    items = make_stream(options.lookups, options.seed, held_out=not options.all_intents)
    pin(os.getpid(), pick_cores()[0])
    print(f"{when}. {machine}. {_describe_stream(items, held_out=not options.all_intents)}")
    print(f"`{' '.join(['python', *sys.argv])}`\n")
    print(
        "| | hits | false, of hits | hits on new wordings | **false, of those** | paraphrases missed "
        "| look-up p50 | p99 | hits, whole stream |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    with tempfile.TemporaryDirectory(prefix="governor-bench-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        model = Path(folder) / "model"
        load(model)
        notes = _show_governor(items, model, options.seed)
        if not options.no_gptcache:
            _show_gptcache(items, model)
    print("\n" + "\n".join(f"- {note}" for note in notes))


def _show_governor(items: Sequence[Item], model: Path, seed: int) -> list[str]:
    """Its rows; returns what is to be said about them."""
    notes = []
    for words, chance in (("", None), (", answers reworded", Random(seed)), (_JUDGED, Random(seed))):
        asked, truths = answer_all(items, chance)
        for name, settings in _rules(judge="judge" if words == _JUDGED else "").items():
            if words and settings.threshold_mode == "manual":
                continue  # learns nothing from answers
            judge = Judge(KnowingModel(truths, Random(seed), _JUDGE_ERROR))
            with tempfile.TemporaryDirectory(dir=model.parent) as place:
                played = asyncio.run(play(asked, Stage(Path(place), model, settings, judge)))
            _show(f"Governor, {name}{words}", items, played.served, truths)
            notes.append(f"Governor, {name}{words}: {_describe_learning(items, played, truths)}")
    return notes


def _show_gptcache(items: Sequence[Item], model: Path) -> None:
    asked, truths = answer_all(items)
    for threshold, cosine in COSINES.items():
        with tempfile.TemporaryDirectory(dir=model.parent) as place:
            served = play_gptcache(asked, Path(place), model / f"{NAME}.onnx", threshold)
        default = ", its default" if threshold == min(COSINES) else ""
        _show(f"GPTCache, threshold {threshold}{default} (cosine {cosine})", items, served, truths)


def _rules(judge: str = "") -> dict[str, CacheSettings]:
    """Governor's settings, by what they are called; a deadline would make hits depend on how busy the machine is."""
    shipped = CacheSettings()
    fixed = {"semantic_timeout_ms": 5_000.0, "judge": judge, "judge_calls_per_hour": 100_000}
    patient = shipped.model_copy(update={"semantic_enabled": True, **fixed})
    rules: dict[str, dict[str, Any]] = {f"at most {rate:.0%} false": {"max_false_hit_rate": rate} for rate in RATES}
    rules[f"manual threshold {shipped.manual_threshold}, as shipped"] = {"threshold_mode": "manual"}
    return {name: patient.model_copy(update=knobs) for name, knobs in rules.items()}


def _describe_stream(items: Sequence[Item], *, held_out: bool) -> str:
    new = [item for item in items if not item.verbatim]
    which = "intents the default verifier was not fitted on" if held_out else "all intents"
    return (
        f"{len(items):,} questions of {which}, {len({item.truth for item in items}):,} truths; "
        f"{len(new) / len(items):.0%} in a new wording, {sum(item.known for item in new) / len(items):.0%} paraphrases."
    )


def _show(name: str, items: Sequence[Item], served: Sequence[tuple[str | None, float]], truths: dict[str, str]) -> None:
    half = len(items) // 2
    second, whole = judge(items[half:], served[half:], truths), judge(items, served, truths)
    print(f"| {name} | {_describe_quality(second)} | {whole.hits:.1%} |", flush=True)


def _describe_quality(quality: Quality) -> str:
    return (
        f"{quality.hits:.1%} | {quality.false:.2%} | {quality.new_hits:.1%} | **{quality.new_false:.2%}** "
        f"| {quality.missed:.1%} | {quality.p50_ms:.2f} ms | {quality.p99_ms:.2f} ms"
    ).replace("nan%", "none")


def _describe_learning(items: Sequence[Item], played: Played, truths: dict[str, str]) -> str:
    began = "never" if played.began_at is None else f"from question {played.began_at:,} on"
    wrong = share_mislabelled(items, played, truths)
    return f"served {began}; {len(played.labels):,} labels, {wrong:.2%} of them wrong; at the end: {played.decision}."


if __name__ == "__main__":
    main()
