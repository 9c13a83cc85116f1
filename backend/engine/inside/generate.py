"""Times Hugging Face generate: MODEL --batch N [--batch N …] --calls N --shape 64:32; prints JSON lines.

Batch 1 is no batching; others are static: a batch ends when its longest answer does, and only then the next begins.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from typing import Any


def main() -> None:
    """One line of figures for each batch size."""
    options = _read_options()
    import torch  # noqa: PLC0415 - seconds to import
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto").to(device).eval()
    prompt, completion = (int(part) for part in options.shape.split(":")[:2])
    chance = random.Random(1)  # noqa: S311 - the same prompts every time, no secret
    prompts = [[chance.randrange(100, 1000) for _ in range(prompt)] for _ in range(options.calls)]
    lengths = [max(1, completion - number % (options.spread + 1)) for number in range(options.calls)]
    for batch in options.batch:
        run_batch(model, prompts[:batch], lengths[:batch])  # warm-up
        figures = time_batches(model, prompts, lengths, batch)
        sys.stdout.write(json.dumps({"batch": batch, "device": device, **figures}) + "\n")
        sys.stdout.flush()


def time_batches(model: Any, prompts: list[list[int]], lengths: list[int], batch: int) -> dict[str, float]:
    """Tokens and calls per second over all prompts; answers longer than asked for are not counted."""
    latencies = []
    began = time.perf_counter()
    for start in range(0, len(prompts), batch):
        since = time.perf_counter()
        run_batch(model, prompts[start : start + batch], lengths[start : start + batch])
        latencies += [time.perf_counter() - since] * len(prompts[start : start + batch])
    seconds = time.perf_counter() - began
    return {
        "calls": len(prompts),
        "seconds": seconds,
        "calls_per_s": len(prompts) / seconds,
        "tokens_per_s": sum(lengths) / seconds,
        "latency_p50_ms": sorted(latencies)[len(latencies) // 2] * 1000,
    }


def run_batch(model: Any, prompts: list[list[int]], lengths: list[int]) -> None:
    """Answer these prompts together, each with exactly as many tokens as the longest wants."""
    import torch  # noqa: PLC0415

    ids = torch.tensor(prompts, device=model.device)
    longest = max(lengths)
    with torch.inference_mode():
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            min_new_tokens=longest,
            max_new_tokens=longest,
            pad_token_id=0,
        )


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, action="append", required=True)
    parser.add_argument("--calls", type=int, default=32)
    parser.add_argument("--shape", default="64:32")
    parser.add_argument("--spread", type=int, default=0, help="answers are up to so many tokens shorter, in turn")
    return parser.parse_args()


if __name__ == "__main__":
    main()
