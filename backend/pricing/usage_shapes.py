"""The shapes in which providers report usage: one reader for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from backend.pricing import usage_fields
from backend.pricing.usage_fields import flag_unknown, read_count, read_details, read_first

Fields = Mapping[str, Any]
Notes = list[str]


@dataclass(slots=True)
class Counts:
    """Token counts while they are being read; the meaning of each is that of ``Usage``."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    audio_prompt_tokens: int | None = None
    audio_completion_tokens: int | None = None
    image_prompt_tokens: int | None = None
    image_completion_tokens: int | None = None
    service_tier: str | None = None
    completion_absent: bool = False


Reader = Callable[[Fields, Notes], Counts]


class _Names(NamedTuple):
    """Where an inclusive shape keeps its four main fields."""

    prompt: str
    completion: str
    prompt_details: str
    completion_details: str


_CHAT = _Names("prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details")
_RESPONSES = _Names("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")


def reader_of(raw: Fields) -> Reader | None:
    """The reader for this usage object, by the names of its fields; none for a shape nobody knows."""
    if "prompt_tokens" in raw or "completion_tokens" in raw:
        return read_chat
    if "input_tokens" in raw or "output_tokens" in raw:
        exclusive = "input_tokens_details" not in raw and not raw.keys().isdisjoint(usage_fields.ANTHROPIC_CACHE)
        return read_anthropic if exclusive else read_responses
    if not raw.keys().isdisjoint(usage_fields.GEMINI_MAIN):
        return read_gemini
    return read_bedrock if "inputTokens" in raw or "outputTokens" in raw else None


def read_chat(raw: Fields, notes: Notes) -> Counts:
    """OpenAI chat and embeddings, and whoever speaks them: vLLM, Azure, DeepSeek, LiteLLM with Anthropic's extras."""
    return _read_inclusive(raw, _CHAT, notes)


def read_responses(raw: Fields, notes: Notes) -> Counts:
    """OpenAI responses: other names, the same inclusive sense."""
    return _read_inclusive(raw, _RESPONSES, notes)


def _read_inclusive(raw: Fields, names: _Names, notes: Notes) -> Counts:
    counts = Counts(
        read_count(raw, names.prompt, notes),
        read_count(raw, names.completion, notes),
        read_count(raw, "total_tokens", notes),
    )
    counts.completion_absent = raw.get(names.completion) is None
    counts.service_tier = _text(raw, "service_tier")
    prompt_details = read_details(raw, names.prompt_details, notes)
    _read_cached(counts, raw, prompt_details, notes)
    _read_writes(counts, raw, prompt_details, notes)
    if prompt_details:
        _read_prompt_parts(counts, prompt_details, notes)
    completion_details = read_details(raw, names.completion_details, notes)
    if completion_details:
        _read_completion_parts(counts, completion_details, notes)
    flag_unknown(raw, usage_fields.INCLUSIVE, notes)
    usage_fields.flag_surcharges(raw, notes)
    return counts


def _read_cached(counts: Counts, raw: Fields, details: Fields, notes: Notes) -> None:
    counts.cached_tokens = read_count(details, "cached_tokens", notes)
    if not raw.keys().isdisjoint(usage_fields.CACHED_ELSEWHERE):
        elsewhere = [(raw, name) for name in usage_fields.CACHED_ALIASES]
        counts.cached_tokens = read_first([({"": counts.cached_tokens}, ""), *elsewhere], notes)


def _read_prompt_parts(counts: Counts, details: Fields, notes: Notes) -> None:
    counts.audio_prompt_tokens = read_count(details, "audio_tokens", notes)
    if "cached_tokens_details" in details:
        cached = read_details(details, "cached_tokens_details", notes)
        cached_audio = read_count(cached, "audio_tokens", notes)
        counts.audio_prompt_tokens = _uncached_audio(counts.audio_prompt_tokens, cached_audio, notes)
    counts.image_prompt_tokens = read_count(details, "image_tokens", notes)
    flag_unknown(details, usage_fields.PROMPT_DETAILS, notes)


def _uncached_audio(audio: int | None, cached_audio: int | None, notes: Notes) -> int | None:
    """Audio that is billed as audio; cached audio is billed as a cache read, whose own audio rate is not kept."""
    if not cached_audio:
        return audio
    notes.append("price_incomplete:cached_audio_tokens")
    return max((audio or 0) - cached_audio, 0)


def _read_completion_parts(counts: Counts, details: Fields, notes: Notes) -> None:
    name = "thinking_tokens" if "thinking_tokens" in details else "reasoning_tokens"
    counts.reasoning_tokens = read_count(details, name, notes)
    counts.audio_completion_tokens = read_count(details, "audio_tokens", notes)
    counts.image_completion_tokens = read_count(details, "image_tokens", notes)
    flag_unknown(details, usage_fields.COMPLETION_DETAILS, notes)


def _read_writes(counts: Counts, raw: Fields, details: Fields, notes: Notes) -> None:
    if raw.keys().isdisjoint(usage_fields.WRITTEN) and details.keys().isdisjoint(usage_fields.WRITTEN):
        return
    written = read_first(
        (
            (details, "cache_write_tokens"),
            (details, "cache_creation_tokens"),
            (details, "cache_creation_input_tokens"),
            (raw, "cache_creation_input_tokens"),
        ),
        notes,
    )
    split = (
        read_details(details, "cache_creation_token_details", notes)
        or read_details(details, "cache_creation", notes)
        or read_details(raw, "cache_creation", notes)
    )
    _split_writes(counts, written, split, notes)


def _split_writes(counts: Counts, written: int | None, split: Fields, notes: Notes) -> None:
    """Writes by lifetime; what the split leaves unexplained was written for five minutes, the default."""
    counts.cache_write_tokens = written
    if not split:
        return
    five_minutes = read_count(split, "ephemeral_5m_input_tokens", notes)
    one_hour = read_count(split, "ephemeral_1h_input_tokens", notes)
    flag_unknown(split, usage_fields.CACHE_CREATION, notes)
    explained = (five_minutes or 0) + (one_hour or 0)
    if written is not None and explained > written:
        notes.append("usage_conflict:cache_creation")
    counts.cache_write_tokens = (five_minutes or 0) + max((written or 0) - explained, 0)
    counts.cache_write_1h_tokens = one_hour


def read_anthropic(raw: Fields, notes: Notes) -> Counts:
    """Anthropic messages: ``input_tokens`` leaves out what was read from and written to the cache."""
    counts = Counts(completion_tokens=read_count(raw, "output_tokens", notes), service_tier=_text(raw, "service_tier"))
    counts.cached_tokens = read_count(raw, "cache_read_input_tokens", notes)
    written = read_count(raw, "cache_creation_input_tokens", notes)
    _split_writes(counts, written, read_details(raw, "cache_creation", notes), notes)
    counts.prompt_tokens = _add_prompt(read_count(raw, "input_tokens", notes), counts, notes)
    details = read_details(raw, "output_tokens_details", notes)
    if details:
        _read_completion_parts(counts, details, notes)
    flag_unknown(raw, usage_fields.ANTHROPIC, notes)
    usage_fields.flag_surcharges(raw, notes)
    return counts


def read_bedrock(raw: Fields, notes: Notes) -> Counts:
    """Bedrock Converse: exclusive like Anthropic's, under names of its own."""
    counts = Counts(completion_tokens=read_count(raw, "outputTokens", notes))
    counts.cached_tokens = read_first(((raw, "cacheReadInputTokens"), (raw, "cacheReadInputTokenCount")), notes)
    written = read_first(((raw, "cacheWriteInputTokens"), (raw, "cacheWriteInputTokenCount")), notes)
    details = raw.get("cacheDetails")
    split: dict[str, Any] = {}
    for part in details if isinstance(details, list) else ():
        if isinstance(part, Mapping):
            split[f"ephemeral_{part.get('ttl')}_input_tokens"] = part.get("inputTokens")
    _split_writes(counts, written, split, notes)
    counts.prompt_tokens = _add_prompt(read_count(raw, "inputTokens", notes), counts, notes)
    flag_unknown(raw, usage_fields.BEDROCK, notes)
    return counts


def _add_prompt(uncached: int | None, counts: Counts, notes: Notes) -> int | None:
    """The inclusive prompt; unknown as soon as one of its parts makes no sense."""
    if uncached is None or any(note.startswith("usage_invalid") for note in notes):
        return None
    written = (counts.cache_write_tokens or 0) + (counts.cache_write_1h_tokens or 0)
    return uncached + (counts.cached_tokens or 0) + written


def read_gemini(raw: Fields, notes: Notes) -> Counts:
    """Gemini ``usageMetadata``: cached tokens inside the prompt, thoughts and tool prompts outside of their wholes."""
    prompt = read_count(raw, "promptTokenCount", notes)
    tool_prompt = read_count(raw, "toolUsePromptTokenCount", notes)
    candidates = read_count(raw, "candidatesTokenCount", notes)
    thoughts = read_count(raw, "thoughtsTokenCount", notes)
    sound = not notes  # what makes no sense would be missing from its whole
    counts = Counts(
        prompt_tokens=prompt + (tool_prompt or 0) if prompt is not None and sound else None,
        completion_tokens=candidates + (thoughts or 0) if candidates is not None and sound else None,
        total_tokens=read_count(raw, "totalTokenCount", notes),
        cached_tokens=read_count(raw, "cachedContentTokenCount", notes),
        reasoning_tokens=thoughts,
        service_tier=usage_fields.GEMINI_TIERS.get(str(raw.get("trafficType")), _text(raw, "trafficType")),
        completion_absent=raw.get("candidatesTokenCount") is None,
    )
    if "promptTokensDetails" in raw or "candidatesTokensDetails" in raw:
        _read_modalities(counts, raw, notes)
    flag_unknown(raw, usage_fields.GEMINI, notes)
    return counts


def _read_modalities(counts: Counts, raw: Fields, notes: Notes) -> None:
    prompt = usage_fields.by_modality(raw.get("promptTokensDetails"))
    cached = usage_fields.by_modality(raw.get("cacheTokensDetails"))
    completion = usage_fields.by_modality(raw.get("candidatesTokensDetails"))
    counts.audio_prompt_tokens = _uncached_audio(
        read_count(prompt, "AUDIO", notes), read_count(cached, "AUDIO", notes), notes
    )
    counts.image_prompt_tokens = read_count(prompt, "IMAGE", notes)
    counts.audio_completion_tokens = read_count(completion, "AUDIO", notes)
    counts.image_completion_tokens = read_count(completion, "IMAGE", notes)
    flag_unknown(prompt, usage_fields.MODALITIES, notes)
    flag_unknown(completion, usage_fields.MODALITIES, notes)


def _text(raw: Fields, name: str) -> str | None:
    value = raw.get(name)
    return value[:64].lower() if isinstance(value, str) and value else None
