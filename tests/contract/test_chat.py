"""Whole chat answers, as every client sees them."""

from __future__ import annotations

import json

import pytest

from tests.contract.place import Place, assert_sound, chat, say
from tests.contract.speakers import Speaker
from tests.contract.upstream import EXTRA


def test_a_chat_is_answered_and_every_header_says_what_happened(speaker: Speaker, place: Place) -> None:
    outcome = speaker.ask("create", params=chat())
    assert_sound(outcome)
    assert outcome.value["object"] == "chat.completion"
    assert outcome.value["choices"][0]["finish_reason"] == "stop"
    headers, row = outcome.headers, place.row(outcome.call_id)
    assert headers["x-governor-cache"] == "MISS"
    assert headers["x-governor-deployment"] == row["deployment"] == "local"
    assert int(headers["x-governor-cost-nusd"]) == row["cost_nusd"] > 0
    assert headers["x-litellm-call-id"] == headers["x-request-id"] == row["id"]
    assert headers["cache-control"] == "private, no-store"
    assert row["prompt_tokens"] == outcome.value["usage"]["prompt_tokens"]


def test_fields_nobody_knows_reach_the_upstream_untouched(speaker: Speaker) -> None:
    extra = {
        "x_number": 2**70,
        "x_float": 0.1,
        "x_deep": {"a": [1, None, True, {"ü": "é\u0000\U0001f680"}]},
        "top_k": 7,
    }
    asked = chat("fake/reflect", temperature=0.25, stop=["\n"], logit_bias={"50256": -100})
    outcome = speaker.ask("create", params=asked, extra=extra)
    seen = json.loads(outcome.text)
    if extra["x_number"] != seen["x_number"]:
        assert float(seen["x_number"]) == float(2**70)  # JavaScript has no other number
        seen["x_number"] = extra["x_number"]
    assert seen == asked | extra


def test_fields_nobody_knows_reach_the_client_untouched(speaker: Speaker) -> None:
    outcome = speaker.ask("create", params=chat("fake/extra"))
    choice = outcome.value["choices"][0]
    for known in (outcome.value, choice, choice["message"]):
        assert {name: known[name] for name in EXTRA} == EXTRA


def test_fields_nobody_knows_survive_a_stream(speaker: Speaker) -> None:
    outcome = speaker.ask("stream", params=chat("fake/extra"))
    assert outcome.error is None
    for chunk in outcome.chunks:
        known = [chunk, chunk["choices"][0]]
        if chunk["choices"][0]["finish_reason"] is None:
            known.append(chunk["choices"][0]["delta"])
        for each in known:
            assert {name: each[name] for name in EXTRA} == EXTRA


def test_text_of_every_kind_survives_both_ways(speaker: Speaker) -> None:
    words = 'héllo 世界 🚀 \u202e \t\n\\ " </script> data: [DONE]'
    for op in ("create", "stream"):
        outcome = speaker.ask(op, params=chat("fake/echo", messages=say(words)))
        assert outcome.text.startswith(words)


def test_completions_answer_in_the_older_shape(speaker: Speaker) -> None:
    params = {"model": "fake/ok", "prompt": say()[0]["content"]}
    whole = speaker.ask("create", "completions", params=params)
    assert_sound(whole)
    assert whole.value["object"] == "text_completion"
    streamed = speaker.ask("stream", "completions", params=params | {"prompt": say()[0]["content"]})
    assert_sound(streamed)
    text = "".join(choice["text"] for chunk in streamed.chunks for choice in chunk["choices"])
    assert text == whole.value["choices"][0]["text"]


@pytest.mark.parametrize("model", ["gpt-4o-mini", "fake/ok"])
def test_an_answer_to_the_same_question_comes_from_the_cache(speaker: Speaker, place: Place, model: str) -> None:
    asked = chat(model)
    paid = speaker.ask("create", params=asked)
    hit = speaker.ask("create", params=asked)
    assert (hit.headers["x-governor-cache"], hit.headers["x-governor-cost"]) == ("HIT", "0")
    assert hit.headers["x-governor-source-call-id"] == paid.call_id
    assert hit.value == paid.value
    streamed = speaker.ask("stream", params=asked)
    assert streamed.headers["x-governor-cache"] == "HIT"
    assert streamed.text == paid.text
    rows = {row["id"]: row for row in place.rows(paid.call_id, hit.call_id, streamed.call_id)}
    assert [rows[each.call_id]["cost_nusd"] for each in (hit, streamed)] == [0, 0]
    assert rows[hit.call_id]["saved_cache_nusd"] == rows[paid.call_id]["cost_nusd"]


def test_models_are_listed_and_found_one_by_one(speaker: Speaker) -> None:
    listed = speaker.ask("models").value
    assert {"gpt-4o-mini", "text-embedding-3-small", "unreachable"} <= {model["id"] for model in listed}
    assert all(model.keys() == {"id", "object", "created", "owned_by"} for model in listed)
    assert speaker.ask("model", model="gpt-4o-mini").value == next(m for m in listed if m["id"] == "gpt-4o-mini")
    assert speaker.ask("model", model="no-such-model").failure["code"] == "model_not_found"
