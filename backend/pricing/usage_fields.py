"""The fields of usage objects: which are known, how a count is read, and what is flagged rather than ignored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Fields = Mapping[str, Any]
Notes = list[str]

MOST_TOKENS = 2**53
"""Above this a count is nonsense (and no longer exact in other people's JSON)."""

_HARMLESS = frozenset(
    {
        # the provider's own idea of the cost
        *("cost", "cost_details", "cost_in_usd_ticks", "is_byok"),
        # timings
        *("queue_time", "prompt_time", "completion_time", "total_time", "tokens_per_second"),
    }
)
CACHED_ALIASES = ("cache_read_input_tokens", "prompt_cache_hit_tokens", "cached_tokens")
CACHED_ELSEWHERE = frozenset(CACHED_ALIASES)
WRITTEN = frozenset(
    {
        *("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"),
        *("cache_creation", "cache_creation_token_details"),
    }
)
ANTHROPIC_CACHE = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"})
_PLACE_AND_SPEED = {"inference_geo": frozenset({"global", "not_available"}), "speed": frozenset({"standard"})}
INCLUSIVE = frozenset(
    {
        *("prompt_tokens", "prompt_tokens_details", "completion_tokens", "completion_tokens_details", "total_tokens"),
        *("input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details"),
        *("prompt_cache_miss_tokens", "service_tier"),
        *CACHED_ALIASES,
        *ANTHROPIC_CACHE,
        *_PLACE_AND_SPEED,
        *_HARMLESS,
    }
)
PROMPT_DETAILS = frozenset(
    {
        *("cached_tokens", "cached_tokens_details", "cache_type"),
        *WRITTEN,
        # text, image and video that have no rate of their own are billed as input
        *("text_tokens", "audio_tokens", "image_tokens", "video_tokens"),
    }
)
COMPLETION_DETAILS = frozenset(
    {
        *("reasoning_tokens", "thinking_tokens", "text_tokens", "audio_tokens", "image_tokens"),
        # predicted tokens are inside the completion and billed as output, used or not
        *("accepted_prediction_tokens", "rejected_prediction_tokens"),
    }
)
CACHE_CREATION = frozenset({"ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"})
ANTHROPIC = frozenset(
    {"input_tokens", "output_tokens", "output_tokens_details", "service_tier", *ANTHROPIC_CACHE, *_PLACE_AND_SPEED}
)
BEDROCK = frozenset(
    {
        *("inputTokens", "outputTokens", "totalTokens", "cacheDetails"),
        *("cacheReadInputTokens", "cacheReadInputTokenCount", "cacheWriteInputTokens", "cacheWriteInputTokenCount"),
    }
)
GEMINI_MAIN = frozenset({"promptTokenCount", "candidatesTokenCount", "totalTokenCount"})
GEMINI = frozenset(
    {
        *GEMINI_MAIN,
        *("cachedContentTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount", "trafficType"),
        *("promptTokensDetails", "cacheTokensDetails", "candidatesTokensDetails", "toolUsePromptTokensDetails"),
    }
)
GEMINI_TIERS = {
    "None": None,
    "ON_DEMAND": None,
    "ON_DEMAND_PRIORITY": "priority",
    "ON_DEMAND_FLEX": "flex",
    "FLEX": "flex",
}
MODALITIES = frozenset({"TEXT", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT"})

_EMPTY: Fields = {}


def read_count(fields: Fields, name: str, notes: Notes) -> int | None:
    """The token count under this name; nothing, with a note, unless it is a whole number from 0 to 2**53."""
    value = fields.get(name)
    if value is None or (type(value) is int and 0 <= value <= MOST_TOKENS):
        return value
    if type(value) is float and value.is_integer() and 0 <= value <= MOST_TOKENS:
        return int(value)
    notes.append(f"usage_invalid:{name}")
    return None


def read_first(sources: Iterable[tuple[Fields, str]], notes: Notes) -> int | None:
    """The first count that is there; a later one that contradicts it is noted."""
    found: int | None = None
    for fields, name in sources:
        value = read_count(fields, name, notes) if name in fields else None
        if found is None:
            found = value
        elif value is not None and value != found:
            notes.append(f"usage_conflict:{name}")
    return found


def read_details(fields: Fields, name: str, notes: Notes) -> Fields:
    """The object under this name; an empty one, with a note if something else stands there."""
    value = fields.get(name)
    if type(value) is dict:
        return value
    if value is not None:
        notes.append(f"usage_invalid:{name}")
    return _EMPTY


def flag_unknown(fields: Fields, known: frozenset[str], notes: Notes) -> None:
    """Note every field that carries an amount and that nothing here prices."""
    if not fields.keys() <= known:
        unknown = fields.keys() - known
        notes.extend(f"price_incomplete:{name[:64]}" for name in sorted(map(str, unknown)) if has_amount(fields[name]))


def flag_surcharges(raw: Fields, notes: Notes) -> None:
    """Note a place or a speed that costs extra (Anthropic's ``inference_geo`` and ``speed``)."""
    for name, usual in _PLACE_AND_SPEED.items():
        value = raw.get(name)
        if value and not (isinstance(value, str) and value in usual):
            notes.append(f"price_incomplete:{name}")


def has_amount(value: object, depth: int = 4) -> bool:
    """Whether there is a number other than zero in here."""
    if isinstance(value, bool) or value is None or not depth:
        return False
    if isinstance(value, int | float):
        return value != 0
    if isinstance(value, str):
        return value.isdecimal() and value.strip("0") != ""
    if isinstance(value, Mapping):
        return any(has_amount(part, depth - 1) for part in value.values())
    return isinstance(value, list) and any(has_amount(part, depth - 1) for part in value)


def by_modality(details: object) -> dict[str, Any]:
    """Gemini's list of ``{modality, tokenCount}`` as one object."""
    parts = details if isinstance(details, list) else []
    return {str(part.get("modality")): part.get("tokenCount") for part in parts if isinstance(part, Mapping)}
