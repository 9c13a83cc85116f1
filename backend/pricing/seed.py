"""List prices: LiteLLM's bundled price map, read as data (its import takes seconds) and never from the network."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from backend.pricing.prices import MOST_RATE, PriceBook, row_of
from db.prices import PriceRow

_NUSD_PER_MTOK = 10**15
"""Dollars per token times this are nano-dollars per million tokens."""

_BUCKET_OF = {
    "input_cost_per_token": "input",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_in",
    "output_cost_per_audio_token": "audio_out",
    "input_cost_per_image_token": "image_in",
    "output_cost_per_image_token": "image_out",
}
_FIELD = re.compile(
    rf"({'|'.join(sorted(_BUCKET_OF, key=len, reverse=True))})"
    r"(?:_above_(\d+)(k?)_tokens)?(?:_(batches|flex|priority|balanced|ultrafast))?"
)
_CAVEATS = (
    "off_peak_pricing",
    "provider_specific_entry",
    "regional_endpoint_uplift_multiplier",
    "regional_processing_uplift_multiplier_eu",
    "regional_processing_uplift_multiplier_us",
    "cache_read_input_audio_token_cost",
    "citation_cost_per_token",
    "input_cost_per_video_token",
    "output_cost_per_video_token",
)
_STANDARD = "standard"

Published = dict[tuple[str, int], dict[str, int]]
"""Rates as published, by service tier and threshold; gaps mean "as before"."""


def map_path() -> Path:
    """Where the installed litellm keeps its price map. Raises ``FileNotFoundError`` when it is not installed."""
    spec = importlib.util.find_spec("litellm")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "model_prices_and_context_window_backup.json"
        if path.is_file():
            return path
    raise FileNotFoundError("litellm's bundled price map is not installed")


def read_map() -> dict[str, dict[str, Any]]:
    """The map as it stands in the file, numbers as exact decimals."""
    loaded: dict[str, dict[str, Any]] = json.loads(map_path().read_bytes(), parse_float=Decimal)
    loaded.pop("sample_spec", None)
    return loaded


def seed_rows(effective_from: int = 0) -> Iterator[PriceRow]:
    """A price row for every model that the map prices by the token."""
    for model, entry in read_map().items():
        rates = rates_of_entry(entry)
        if rates is not None:
            yield row_of(model, entry.get("litellm_provider"), rates, effective_from, "litellm")


def seed_book() -> PriceBook:
    """A book of list prices alone, for when there is no database."""
    return PriceBook(seed_rows())


def new_rows(known: Iterable[PriceRow], now_ms: int) -> list[PriceRow]:
    """The rows that bring a price table holding ``known`` up to the installed map.

    The first map holds from the beginning of time; what a later map changes holds from now on, so that history keeps
    its prices. None where litellm is not installed: the console's image carries no map, the gateway's does.
    """
    if importlib.util.find_spec("litellm") is None:
        return []
    listed = {row.model: row for row in known if row.source == "litellm"}
    reason = f"litellm {version('litellm')}"
    return [
        replace(row, actor="governor", reason=reason, created_at=now_ms)
        for row in seed_rows(now_ms if listed else 0)
        if row.model not in listed or (listed[row.model].provider, listed[row.model].rates) != (row.provider, row.rates)
    ]


def rates_of_entry(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """The rates document of one entry of the map.

    None for what is not priced by the token, and for entries that are zero throughout: there a zero stands for "nobody
    filled it in", and an unknown price must not become a gift.
    """
    ranges = entry.get("tiered_pricing")
    published = _read_published(entry)
    names = sorted({tier for tier, _ in published} - {_STANDARD})
    if ranges and "input_cost_per_token" in ranges[0]:
        standard = _steps_of_ranges(published[_STANDARD, 0], ranges)
    else:
        standard = _fill_gaps(published, _STANDARD)
    if not any(rate for step in standard for name, rate in step.items() if name in {"input", "output"}):
        return None
    document: dict[str, Any] = {
        "standard": standard,
        "tiers": {name: _fill_gaps(published, name) for name in names},
        "caveats": [*(name for name in _CAVEATS if name in entry), *_unpublished_steps(published, names)],
    }
    if "input_cost_per_request" in entry:
        document["per_call"] = _to_rate(entry["input_cost_per_request"]) // 1_000_000
    return {name: part for name, part in document.items() if part}


def _read_published(entry: Mapping[str, Any]) -> Published:
    published: Published = {(_STANDARD, 0): {}}
    inclusive = entry.get("litellm_provider") == "xai"  # there the dearer rate begins at the threshold, not above it
    for name, value in entry.items():
        place = _place_of(name)
        if place is not None and isinstance(value, int | Decimal):
            bucket, tier, above = place
            above -= inclusive and above > 0
            published.setdefault((tier, above), {})[bucket] = _to_rate(value)
    return published


@cache
def _place_of(name: str) -> tuple[str, str, int] | None:
    match = _FIELD.fullmatch(name)
    if match is None:
        return None
    base, threshold, thousand, tier = match.groups()
    above = int(threshold or 0) * (1000 if thousand else 1)
    return _BUCKET_OF[base], "batch" if tier == "batches" else tier or _STANDARD, above


def _fill_gaps(published: Published, tier: str) -> list[dict[str, int]]:
    """The steps of a tier, each complete: an unpublished rate is that of the standard tier, or of the step before."""
    rates: dict[str, int] = {}
    steps = []
    for above in sorted({above for name, above in published if name in {tier, _STANDARD}}):
        stated = published.get((tier, above), {})
        rates = {**rates, **published.get((_STANDARD, above), {}), **stated}
        if "output" in stated and "reasoning" not in stated:  # reasoning follows the output rate it was published with
            rates.pop("reasoning", None)
        if rates.get("reasoning") == rates.get("output"):
            rates.pop("reasoning", None)
        steps.append({"above_tokens": above, **rates})
    return steps


def _unpublished_steps(published: Published, names: Iterable[str]) -> list[str]:
    """Service tiers that state no rates of their own for long prompts: those are billed at the standard rates."""
    thresholds = [above for name, above in published if name == _STANDARD and above]
    return [f"{name}_above_{above}" for name in names for above in thresholds if (name, above) not in published]


def _steps_of_ranges(own: dict[str, int], ranges: list[dict[str, Any]]) -> list[dict[str, int]]:
    """Alibaba's ranges of prompt length; the first one holds from zero, the last one without end."""
    steps: list[dict[str, int]] = []
    for step in sorted(ranges, key=lambda step: step["range"][0]):
        rates = {_BUCKET_OF[name]: _to_rate(value) for name, value in step.items() if name in _BUCKET_OF}
        steps.append({"above_tokens": int(step["range"][0]) if steps else 0, **own, **rates})
    return steps


def _to_rate(dollars_per_token: int | Decimal) -> int:
    """Rounded to a whole nano-dollar per million tokens: what is finer in the map are traces of floats."""
    rate = int((Decimal(dollars_per_token) * _NUSD_PER_MTOK).to_integral_value(ROUND_HALF_EVEN))
    if not 0 <= rate <= MOST_RATE:
        raise ValueError(f"{dollars_per_token} dollars per token is not a price")
    return rate
