"""Usage: what a call consumed, whatever the provider calls it, in OpenAI's inclusive sense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from backend.pricing.usage_fields import MOST_TOKENS
from backend.pricing.usage_shapes import Counts, reader_of

UsageSource = Literal["provider", "estimated", "unknown"]

MOST_NOTES = 16
_PLAIN = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)
_PLAIN_PROMPT = frozenset({"cached_tokens", "audio_tokens"})
_PLAIN_COMPLETION = frozenset(
    {"reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"}
)
_NOTHING: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. ``None`` is "not reported", never zero; parts are contained in their whole.

    ``prompt_tokens`` contains cached, cache-write, audio and image tokens; ``completion_tokens`` contains reasoning,
    audio and image tokens. ``audio_prompt_tokens`` leaves out audio served from the provider's cache.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    """Written to the provider's cache for five minutes."""
    cache_write_1h_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_prompt_tokens: int | None = None
    audio_completion_tokens: int | None = None
    image_prompt_tokens: int | None = None
    image_completion_tokens: int | None = None
    service_tier: str | None = None
    source: UsageSource = "unknown"
    notes: tuple[str, ...] = ()
    """What made no sense or is not priced: ``usage_invalid:…``, ``usage_conflict:…``, ``price_incomplete:…``."""
    raw: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def total_tokens(self) -> int | None:
        """Prompt and completion together; unknown when either is."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens


MISSING = Usage(notes=("usage_missing",))
"""No usage came: the call's cost is unknown."""


def read_usage(raw: Mapping[str, Any] | None) -> Usage:
    """Usage from any provider's usage object. Never raises: nonsense is unknown and noted, never a credit."""
    if raw is None:
        return MISSING
    if type(raw) is not dict:
        return Usage(notes=("usage_invalid:usage",))
    return _read_plain(raw) or _read_any(raw)


def _read_plain(raw: dict[str, Any]) -> Usage | None:
    """OpenAI's own shape with nothing unusual in it, which is nearly every call; None where a closer look is due."""
    prompt, completion = raw.get("prompt_tokens"), raw.get("completion_tokens")
    if type(prompt) is not int or type(completion) is not int or not raw.keys() <= _PLAIN:
        return None
    total, read, written = (
        raw.get("total_tokens"),
        raw.get("prompt_tokens_details"),
        raw.get("completion_tokens_details"),
    )
    sound = prompt >= 0 <= completion and type(total) is int and prompt + completion == total <= MOST_TOKENS
    if not (sound and _is_plain(read, _PLAIN_PROMPT, prompt) and _is_plain(written, _PLAIN_COMPLETION, completion)):
        return None
    read, written = read or _NOTHING, written or _NOTHING
    return Usage(
        prompt_tokens=prompt,
        cached_tokens=read.get("cached_tokens"),
        completion_tokens=completion,
        reasoning_tokens=written.get("reasoning_tokens"),
        audio_prompt_tokens=read.get("audio_tokens"),
        audio_completion_tokens=written.get("audio_tokens"),
        source="provider",
        raw=raw,
    )


def _is_plain(details: object, known: frozenset[str], whole: int) -> bool:
    if details is None:
        return True
    if type(details) is not dict or not details.keys() <= known:
        return False
    for part in details.values():  # noqa: SIM110 - a generator would cost more than the loop
        if type(part) is not int or not 0 <= part <= whole:
            return False
    return True


def _read_any(raw: dict[str, Any]) -> Usage:
    reader = reader_of(raw)
    if reader is None:
        return Usage(notes=("usage_unrecognised",), raw=raw)
    notes: list[str] = []
    counts = reader(raw, notes)
    _complete(counts)
    _include_reasoning(counts)
    known = _is_consistent(counts, notes)
    return Usage(
        counts.prompt_tokens,
        counts.cached_tokens,
        counts.cache_write_tokens,
        counts.cache_write_1h_tokens,
        counts.completion_tokens,
        counts.reasoning_tokens,
        counts.audio_prompt_tokens,
        counts.audio_completion_tokens,
        counts.image_prompt_tokens,
        counts.image_completion_tokens,
        counts.service_tier,
        "provider" if known else "unknown",
        tuple(dict.fromkeys(notes))[:MOST_NOTES] if notes else (),
        raw,
    )


def estimate_usage(prompt_tokens: int, completion_tokens: int) -> Usage:
    """Usage that we counted ourselves because the provider said nothing; marked as an estimate."""
    if prompt_tokens < 0 or completion_tokens < 0:
        raise ValueError(f"token counts cannot be negative: {prompt_tokens}, {completion_tokens}")
    return Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, source="estimated")


def follow_usage(previous: Usage | None, latest: Usage) -> Usage:
    """The usage of a stream that reports it repeatedly: the last report wins (they are cumulative, never summed).

    A count that went down is noted, because one of the two reports is wrong.
    """
    if previous is None:
        return latest
    before, after = previous.total_tokens, latest.total_tokens
    if before is not None and after is not None and after < before:
        return replace(latest, notes=(*latest.notes, "usage_conflict:decreasing"))
    return latest


def _complete(counts: Counts) -> None:
    """Embeddings report no completion, and Gemini none that is empty: the total then gives it exactly."""
    prompt, total = counts.prompt_tokens, counts.total_tokens
    if counts.completion_absent and prompt is not None and total is not None and total >= prompt:
        counts.completion_tokens = total - prompt


def _include_reasoning(counts: Counts) -> None:
    """Some providers (xAI) keep reasoning outside of the completion count; their total shows it."""
    prompt, completion, reasoning = counts.prompt_tokens, counts.completion_tokens, counts.reasoning_tokens
    if not reasoning or prompt is None or completion is None:
        return
    if counts.total_tokens == prompt + completion + reasoning:
        counts.completion_tokens = completion + reasoning


def _is_consistent(counts: Counts, notes: list[str]) -> bool:
    prompt, completion = counts.prompt_tokens, counts.completion_tokens
    if prompt is None or completion is None:
        notes.append("usage_incomplete")
        return False
    written = (counts.cache_write_tokens or 0) + (counts.cache_write_1h_tokens or 0)
    if (counts.cached_tokens or 0) + written > prompt:
        notes.append("usage_conflict:prompt_tokens")
        return False
    if (counts.reasoning_tokens or 0) > completion:
        notes.append("usage_conflict:completion_tokens")
        return False
    total = counts.total_tokens
    if total is not None and total != prompt + completion:
        kind = "price_incomplete" if total > prompt + completion else "usage_conflict"
        notes.append(f"{kind}:total_tokens")
    return True
