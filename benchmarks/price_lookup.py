"""What money costs per call: reading the usage, finding the price, multiplying; and building the price book."""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.pricing.cost import cost_of
from backend.pricing.prices import PriceBook
from backend.pricing.seed import seed_rows
from backend.pricing.usage import read_usage

USAGE = {
    "prompt_tokens": 1200,
    "completion_tokens": 300,
    "total_tokens": 1500,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 128,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
NOW = 1_800_000_000_000


def microseconds(step: Callable[[], object], number: int = 20_000) -> float:
    return min(timeit.repeat(step, number=number, repeat=7)) / number * 1e6


def main() -> None:
    rows = list(seed_rows())
    book = PriceBook(rows)
    usage, price = read_usage(USAGE), book.price_at("gpt-4o-mini", "openai", NOW)
    print(f"read_usage   {microseconds(lambda: read_usage(USAGE)):8.2f} µs")
    print(f"price_at     {microseconds(lambda: book.price_at('gpt-4o-mini', 'openai', NOW)):8.2f} µs")
    print(f"cost_of      {microseconds(lambda: cost_of(usage, price)):8.2f} µs")
    print(f"seed_rows    {microseconds(lambda: list(seed_rows()), 1) / 1000:8.2f} ms for {len(rows)} prices")
    print(f"PriceBook    {microseconds(lambda: PriceBook(rows), 1) / 1000:8.2f} ms")


if __name__ == "__main__":
    main()
