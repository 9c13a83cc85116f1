"""The simulated provider: deterministic, labelled, in OpenAI's shapes."""

from __future__ import annotations

import base64
import math
from array import array
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.call import Call, Chunk, Endpoint
from backend.errors import UpstreamRefused
from backend.settings.knobs import Deployment, Simulation, UpstreamSettings
from backend.upstream.request import UpstreamRequest
from backend.upstream.simulated import SimulatedClient
from backend.upstream.simulated_answer import compose_answer, read_prompt
from backend.upstream.simulated_wire import embed
from tests.upstream.test_simulated_schema import SCHEMA

AT_ONCE = Simulation(ttft_ms=0, tokens_per_s=1_000_000)


def request(
    body: dict[str, Any], endpoint: Endpoint = "chat.completions", simulation: Simulation = AT_ONCE, name: str = "one"
) -> UpstreamRequest:
    model = body.setdefault("model", "gpt-4o-mini")
    shows_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    call = Call(endpoint, body, model, stream=bool(body.get("stream")), wants_usage=shows_usage)
    deployment = Deployment(name=name, model=model, provider="simulated", simulation=simulation)
    return UpstreamRequest(deployment, call, body, UpstreamSettings(), deadline_s=10.0)


async def collect(wanted: UpstreamRequest, client: SimulatedClient | None = None) -> list[Chunk]:
    return [chunk async for chunk in (client or SimulatedClient()).stream(wanted)]


async def answer(body: dict[str, Any], endpoint: Endpoint = "chat.completions") -> dict[str, Any]:
    (chunk,) = await collect(request(body, endpoint))
    assert orjson.loads(chunk.data) == chunk.event
    return chunk.event


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


async def test_a_chat_answer_has_openai_shape_and_says_that_it_is_simulated() -> None:
    body = await answer(ask("What is a governor?"))
    (choice,) = body["choices"]
    assert body["object"] == "chat.completion"
    assert body["system_fingerprint"] == "simulated"
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"].startswith("[simulated gpt-4o-mini]")
    assert choice["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_the_answer_depends_on_prompt_and_model_alone() -> None:
    first, again = [await answer(ask("the same")) for _ in range(2)]
    assert first["choices"] == again["choices"]
    assert first["usage"] == again["usage"]
    other = await answer(ask("another"))
    assert other["choices"] != first["choices"]
    elsewhere = await answer(ask("the same", model="gpt-4o"))
    assert elsewhere["choices"] != first["choices"]


async def test_a_seed_changes_the_answer_and_repeats_it() -> None:
    one, two, again = [await answer(ask("long question", seed=seed, n=3)) for seed in (1, 2, 1)]
    assert one["choices"] == again["choices"]
    assert one["choices"] != two["choices"]


async def test_a_stream_says_what_the_whole_answer_says() -> None:
    whole = await answer(ask("stream me", n=2))
    chunks = await collect(request(ask("stream me", n=2, stream=True)))
    texts = ["", ""]
    for chunk in chunks:
        assert orjson.loads(chunk.data) == chunk.event
        for choice in chunk.event["choices"]:
            texts[choice["index"]] += choice["delta"].get("content") or ""
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]


async def test_a_stream_opens_with_roles_and_ends_with_reasons_then_usage_without_choices() -> None:
    events = [chunk.event for chunk in await collect(request(ask("hello", stream=True)))]
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events}) == 1
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    reasons = [choice["finish_reason"] for event in events for choice in event["choices"]]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == len(events) - 3


async def test_chunks_carry_an_empty_usage_only_when_the_client_asked_for_usage() -> None:
    asked = await collect(request(ask("hello", stream=True, stream_options={"include_usage": True})))
    silent = await collect(request(ask("hello", stream=True)))
    assert all(chunk.event["usage"] is None for chunk in asked[:-1])
    assert all("usage" not in chunk.event for chunk in silent[:-1])


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_cuts_the_answer(name: str) -> None:
    body = await answer(ask("talk", **{name: 5}))
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 5


async def test_a_stop_sequence_is_not_in_the_answer() -> None:
    plain = (await answer(ask("talk")))["choices"][0]["message"]["content"]
    word = plain.split()[4]
    stopped = await answer(ask("talk", stop=[word, "never said"]))
    assert word not in stopped["choices"][0]["message"]["content"]
    assert plain.startswith(stopped["choices"][0]["message"]["content"])
    assert stopped["choices"][0]["finish_reason"] == "stop"


async def test_choices_differ_from_each_other() -> None:
    body = await answer(ask("three, please", n=3))
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in body["choices"]}) == 3


async def test_json_mode_answers_with_an_object() -> None:
    body = await answer(ask("as JSON", response_format={"type": "json_object"}))
    assert orjson.loads(body["choices"][0]["message"]["content"])["simulated"] == "gpt-4o-mini"


async def test_structured_output_satisfies_its_schema() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": SCHEMA}}
    body = await answer(ask("structured", response_format=wanted))
    jsonschema.validate(orjson.loads(body["choices"][0]["message"]["content"]), SCHEMA)


TOOLS = [
    {"type": "function", "function": {"name": "ignored", "parameters": {}}},
    {"type": "function", "function": {"name": "lookup", "parameters": SCHEMA}},
]


async def test_a_named_tool_is_called_with_arguments_that_satisfy_its_schema() -> None:
    choice = {"type": "function", "function": {"name": "lookup"}}
    message = (await answer(ask("call it", tools=TOOLS, tool_choice=choice)))["choices"][0]["message"]
    (call,) = message["tool_calls"]
    assert message["content"] is None
    assert call["function"]["name"] == "lookup"
    jsonschema.validate(orjson.loads(call["function"]["arguments"]), SCHEMA)


async def test_a_required_tool_call_streams_its_arguments() -> None:
    chunks = await collect(request(ask("call any", tools=TOOLS[1:], tool_choice="required", stream=True)))
    pieces = [
        call["function"]
        for chunk in chunks
        for choice in chunk.event["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    assert pieces[0] == {"name": "lookup", "arguments": ""}
    jsonschema.validate(orjson.loads("".join(piece["arguments"] for piece in pieces)), SCHEMA)
    assert chunks[-2].event["choices"][0]["finish_reason"] == "tool_calls"


async def test_tools_that_are_not_demanded_leave_the_answer_in_words() -> None:
    message = (await answer(ask("maybe", tools=TOOLS, tool_choice="auto")))["choices"][0]["message"]
    assert "tool_calls" not in message


async def test_completions_answer_each_prompt_in_the_old_shape() -> None:
    body = await answer({"prompt": ["first", "second"]}, "completions")
    assert body["object"] == "text_completion"
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert all(choice["text"].startswith("[simulated gpt-4o-mini]") for choice in body["choices"])
    streamed = await collect(request({"prompt": "first", "stream": True}, "completions"))
    assert "".join(chunk.event["choices"][0]["text"] for chunk in streamed[:-1]).startswith("[simulated")


async def test_a_repeated_long_beginning_is_reported_as_cached() -> None:
    client = SimulatedClient()
    system = {"role": "system", "content": "All the rules of the house. " * 300}
    cached = []
    for question in ("one", "two"):
        body = {"messages": [system, {"role": "user", "content": question}]}
        (chunk,) = await collect(request(body), client)
        cached.append(chunk.event["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert cached[0] == 0
    assert cached[1] >= 1024
    assert cached[1] % 128 == 0


async def test_a_short_prompt_is_never_reported_as_cached() -> None:
    client = SimulatedClient()
    for _ in range(2):
        (chunk,) = await collect(request(ask("short")), client)
        assert chunk.event["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


async def test_embeddings_are_unit_vectors_of_the_models_size() -> None:
    body = await answer({"input": ["a cat sat", "a cat sat"], "model": "text-embedding-3-small"}, "embeddings")
    first, second = (item["embedding"] for item in body["data"])
    assert first == second
    assert len(first) == 1536
    assert math.isclose(sum(value * value for value in first), 1.0, rel_tol=1e-5)
    assert body["usage"]["prompt_tokens"] == 6


async def test_embeddings_come_as_base64_and_in_the_wanted_size() -> None:
    wanted = {"input": "a cat sat", "model": "text-embedding-3-small", "dimensions": 64}
    plain = (await answer(dict(wanted), "embeddings"))["data"][0]["embedding"]
    coded = (await answer({**wanted, "encoding_format": "base64"}, "embeddings"))["data"][0]["embedding"]
    assert list(array("f", base64.b64decode(coded))) == plain
    assert len(plain) == 64


def test_texts_with_words_in_common_are_nearer() -> None:
    def similarity(one: str, two: str) -> float:
        return sum(a * b for a, b in zip(embed(one, 256), embed(two, 256), strict=True))

    near = similarity("how do I reset my password", "how can I reset my password")
    far = similarity("how do I reset my password", "weather in Lisbon tomorrow")
    assert near > 0.6
    assert far < 0.3


async def test_failures_are_a_share_of_prompts_and_the_same_every_time() -> None:
    flaky = Simulation(ttft_ms=0, tokens_per_s=1_000_000, error_rate=0.3)

    async def failures(name: str) -> dict[int, UpstreamRefused]:
        refused = {}
        for index in range(300):
            try:
                await collect(request(ask(f"question {index}"), simulation=flaky, name=name))
            except UpstreamRefused as error:
                refused[index] = error
        return refused

    first = await failures("one")
    assert 60 <= len(first) <= 120
    assert {error.status for error in first.values()} == {429, 500}
    assert all(orjson.loads(e.body())["error"].keys() == {"message", "type", "param", "code"} for e in first.values())
    assert first.keys() == (await failures("one")).keys()
    assert first.keys() != (await failures("two")).keys()


@pytest.mark.parametrize("endpoint", ["chat.completions", "completions", "embeddings"])
async def test_a_body_without_its_prompt_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(UpstreamRefused) as refused:
        await collect(request({}, endpoint))
    assert refused.value.status == 400


async def test_the_answer_comes_no_sooner_than_its_pace_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def remember(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("backend.upstream.simulated.asyncio.sleep", remember)
    slow = Simulation(ttft_ms=2000, tokens_per_s=1)
    chunks = await collect(request(ask("slowly", stream=True, max_tokens=4), simulation=slow))
    assert 0.5 < slept[0] < 8
    assert slept[-1] - slept[0] == pytest.approx(3, abs=0.5)
    assert len(chunks) == 7


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each))
)
def test_any_content_can_be_read(content: Any) -> None:
    body = {"messages": [{"role": "user", "content": content}]}
    assert read_prompt(body).tokens >= 4
    assert compose_answer(body, "m", 7, 20).text.startswith("[simulated m]")
