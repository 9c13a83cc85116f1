from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.pricing import usage as module
from backend.pricing.usage import MISSING, MOST_NOTES, Usage, estimate_usage, follow_usage, read_usage
from backend.pricing.usage_fields import MOST_TOKENS
from tests.pricing.vectors import Vector, read_vectors

CHAT: dict[str, Any] = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"),
        *("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"),
        *("promptTokenCount", "candidatesTokenCount", "promptTokensDetails", "inputTokens", "outputTokens"),
        *("cacheDetails", "cached_tokens", "service_tier", "trafficType", "inference_geo", "speed"),
    ]
)


def amounts_in(usage: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a usage object a number other than zero stands under a name of its own."""
    for name, value in usage.items() if isinstance(usage, dict) else ():
        if isinstance(value, int | float) and not isinstance(value, bool) and value:
            yield (*path, name)
        if name != "cost_details":  # the provider's own arithmetic: whatever it contains is no usage
            yield from amounts_in(value, (*path, name))


def rename(usage: Any, path: tuple[Any, ...]) -> Any:
    mutated = copy.deepcopy(usage)
    parent = mutated
    for name in path[:-1]:
        parent = parent[name]
    parent[f"{path[-1]}_v2"] = parent.pop(path[-1])
    return mutated


SOUND = [vector for vector in read_vectors() if vector.cost_nusd is not None]
MUTATIONS = [(vector, path) for vector in SOUND for path in amounts_in(vector.usage)]


def test_every_amount_in_the_golden_usages_is_renamed() -> None:
    assert len(MUTATIONS) > 1000


@pytest.mark.parametrize("vector", SOUND, ids=str)
def test_an_amount_under_a_new_name_is_flagged_not_ignored(vector: Vector) -> None:
    for path in amounts_in(vector.usage):
        known = set(read_usage(vector.usage).notes) - {f"price_incomplete:{path[0]}"}
        assert set(read_usage(rename(vector.usage, path)).notes) - known, (
            f"{'.'.join(path)} was renamed and nobody noticed"
        )


def test_a_missing_usage_is_unknown_not_zero() -> None:
    assert read_usage(None) == MISSING
    assert (MISSING.prompt_tokens, MISSING.completion_tokens, MISSING.total_tokens) == (None, None, None)
    assert MISSING.source == "unknown"


def test_a_usage_of_zero_is_known() -> None:
    usage = read_usage({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
    assert (usage.prompt_tokens, usage.completion_tokens, usage.source, usage.notes) == (0, 0, "provider", ())


def test_what_was_not_reported_is_none_and_what_was_reported_zero_is_zero() -> None:
    usage = read_usage({**CHAT, "prompt_tokens_details": {"cached_tokens": 0}})
    assert (usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens) == (0, None, None)


def test_the_raw_object_is_kept_as_it_came() -> None:
    raw = {**CHAT, "something": {"else": [1, 2]}}
    assert read_usage(raw).raw == raw


def test_anthropic_counts_become_inclusive() -> None:
    raw = {
        "input_tokens": 10,
        "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
        "output_tokens": 7,
        "service_tier": "batch",
    }
    usage = read_usage(raw)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (240, 7, 247)
    assert (usage.cached_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens) == (200, 20, 10)
    assert usage.service_tier == "batch"


def test_litellm_counts_stay_inclusive() -> None:
    raw = {"prompt_tokens": 240, "completion_tokens": 7, "total_tokens": 247}
    usage = read_usage({**raw, "cache_read_input_tokens": 200, "cache_creation_input_tokens": 30})
    assert (usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens) == (240, 200, 30)


def test_gemini_thoughts_join_the_completion() -> None:
    usage = read_usage(
        {"promptTokenCount": 8, "thoughtsTokenCount": 65, "candidatesTokenCount": 4, "totalTokenCount": 77}
    )
    assert (usage.completion_tokens, usage.reasoning_tokens) == (69, 65)


def test_reasoning_outside_of_the_completion_is_recognised_by_the_total() -> None:
    raw = {"prompt_tokens": 32, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 94}}
    assert read_usage({**raw, "total_tokens": 135}).completion_tokens == 103
    assert read_usage({**raw, "completion_tokens": 103, "total_tokens": 135}).completion_tokens == 103


def test_embeddings_complete_nothing() -> None:
    assert read_usage({"prompt_tokens": 8, "total_tokens": 8}).completion_tokens == 0


def test_responses_with_two_plain_counts_are_inclusive() -> None:
    assert read_usage({"input_tokens": 8, "output_tokens": 2}).prompt_tokens == 8


@pytest.mark.parametrize("value", [-1, 1.5, "10", True, [], {}, MOST_TOKENS + 1, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_a_count_that_makes_no_sense_is_unknown(name: str, value: object) -> None:
    usage = read_usage({**CHAT, name: value})
    assert (getattr(usage, name), usage.source) == (None, "unknown")
    assert f"usage_invalid:{name}" in usage.notes


def test_the_largest_exact_count_is_read() -> None:
    assert read_usage({"prompt_tokens": MOST_TOKENS, "completion_tokens": 0}).prompt_tokens == MOST_TOKENS


@given(st.dictionaries(NAMES | st.text(max_size=6), JSON, max_size=6))
def test_whatever_comes_is_read_without_raising_and_without_credit(raw: dict[str, Any]) -> None:
    usage = read_usage(raw)
    counts = [usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens]
    counts += [usage.completion_tokens, usage.reasoning_tokens, usage.audio_prompt_tokens, usage.image_prompt_tokens]
    assert all(count is None or (type(count) is int and count >= 0) for count in counts)
    assert usage.source == "unknown" or usage.total_tokens is not None
    assert len(usage.notes) <= MOST_NOTES


def test_notes_are_bounded_whatever_comes() -> None:
    usage = read_usage({**CHAT, **{f"{'x' * 500}{number}": 1 for number in range(500)}})
    assert len(usage.notes) <= MOST_NOTES
    assert max(map(len, usage.notes)) < 100


def test_of_many_reports_in_a_stream_the_last_one_counts() -> None:
    usage: Usage | None = None
    for count in range(1, 1001):
        usage = follow_usage(usage, read_usage({"prompt_tokens": 10, "completion_tokens": count}))
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.notes) == (10, 1000, ())


def test_a_report_that_shrinks_is_noted() -> None:
    before, after = estimate_usage(10, 5), estimate_usage(10, 4)
    assert follow_usage(before, after).notes == ("usage_conflict:decreasing",)
    assert follow_usage(before, after).completion_tokens == 4


def test_an_estimate_says_that_it_is_one_and_cannot_be_negative() -> None:
    assert estimate_usage(10, 5).source == "estimated"
    with pytest.raises(ValueError, match="negative"):
        estimate_usage(-1, 5)


PART = st.integers(0, 20) | st.sampled_from([None, -1, True, 1.0, "3", MOST_TOKENS, MOST_TOKENS + 1])
PROMPT = st.dictionaries(st.sampled_from(["cached_tokens", "audio_tokens", "image_tokens"]), PART)
COMPLETION = st.dictionaries(st.sampled_from(["reasoning_tokens", "audio_tokens", "accepted_prediction_tokens"]), PART)


@given(PART, PART, st.none() | PART, st.none() | PROMPT, st.none() | COMPLETION)
def test_the_short_way_for_plain_usage_reads_what_the_long_way_reads(
    prompt: Any, completion: Any, total: Any, read: Any, written: Any
) -> None:
    numbers = isinstance(prompt, int) and isinstance(completion, int)
    raw = {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": read}
    raw |= {"total_tokens": prompt + completion if numbers and total is None else total}
    raw |= {"completion_tokens_details": written}
    assert module._read_plain(raw) in (None, module._read_any(raw))


def test_plain_usage_takes_the_short_way() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}
    for plain in (CHAT, CHAT | details):
        assert module._read_plain(plain) == module._read_any(plain)
