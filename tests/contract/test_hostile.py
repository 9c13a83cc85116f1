"""Requests that mean harm or nothing: refused or answered, never a crash, and the worker that took them lives on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.contract.place import Place, say
from tests.contract.upstream import ODD
from tests.gateway.json_corpus import BAD_BODIES, PLACES, bad_values, nested, sound_values

NONSENSE: list[Any] = [
    *(-1, 0, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 0.5, 1e308, -1e308, 1e-300, True, False, "1", "", "x" * 300),
    *("\x00", "\r\nset-cookie: a=b", [], [1], ["a", None], [[]], {}, {"a": 1}, {"type": "function"}, None),
]
CHAT = "n max_tokens max_completion_tokens temperature top_p top_k presence_penalty frequency_penalty seed logprobs "
CHAT += "top_logprobs stop stream stream_options logit_bias tools tool_choice response_format user metadata messages "
CHAT += "model cache service_tier parallel_tool_calls reasoning_effort modalities functions function_call store"
TEXT = "prompt best_of echo suffix logprobs max_tokens n stop temperature stream"
EMBED = "input dimensions encoding_format user model"


@pytest.fixture(scope="module")
def client(place: Place) -> Iterator[httpx2.Client]:
    """One connection for hundreds of requests; the workers at the end are those of the beginning."""
    before = [worker.pid for worker in place.rig.gateway.workers()]
    with httpx2.Client(base_url=f"http://127.0.0.1:{place.port}", timeout=30) as found:
        yield found
    assert [worker.pid for worker in place.rig.gateway.workers()] == before


def post(client: httpx2.Client, path: str, body: bytes, **headers: str) -> httpx2.Response:
    reply = client.post(path, content=body, headers={"content-type": "application/json"} | headers)
    if reply.status_code >= 400:
        assert reply.json()["error"].keys() >= {"message", "type", "param", "code"}
    return reply


@pytest.mark.parametrize("place_name", ["field", "metadata"])
def test_bad_json_is_a_400_wherever_it_stands(client: httpx2.Client, place_name: str) -> None:
    for value in bad_values():
        reply = post(client, "/v1/chat/completions", PLACES[place_name] % value)
        assert reply.status_code == 400, value
        assert reply.headers["x-should-retry"] == "false"


def test_bad_bodies_are_a_400_on_every_route(client: httpx2.Client) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
        for body in BAD_BODIES:
            assert post(client, path, body).status_code == 400, body


def test_sound_json_is_never_a_crash(client: httpx2.Client) -> None:
    for value in sound_values():
        reply = post(client, "/v1/chat/completions", PLACES["message"].replace(b"fake/ok", b"fake/reflect") % value)
        assert reply.status_code == 200, value


@pytest.mark.parametrize("depth", [10**2, 10**3, 10**4, 10**5, 3 * 10**5])
def test_nesting_of_any_depth_is_refused(client: httpx2.Client, depth: int) -> None:
    for kind in ("array", "object", "array open", "object open"):
        for place in PLACES.values():
            assert post(client, "/v1/chat/completions", place % nested(depth, kind)).status_code in (400, 413)


def nonsense_bodies() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, field and body for every field and every value."""
    embed = {"model": "text-embedding-3-small", "input": "x"}
    for field in CHAT.split():
        yield "/v1/chat/completions", field, {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}
        yield "/v1/chat/completions", field, {"model": "fake/reflect", "messages": [{"role": "user", "content": "x"}]}
    for field in TEXT.split():
        yield "/v1/completions", field, {"model": "gpt-4o-mini", "prompt": "x"}
    for field in EMBED.split():
        yield "/v1/embeddings", field, embed


def test_nonsense_in_any_field_is_never_a_5xx(client: httpx2.Client) -> None:
    for path, field, sound in nonsense_bodies():
        for value in NONSENSE:
            reply = post(client, path, json.dumps(sound | {field: value}).encode())
            assert reply.status_code < 500, (path, field, value, reply.text[:300])


MESSAGES: list[Any] = [
    {}, {"role": "user"}, {"role": "user", "content": None}, {"role": 5, "content": 5}, {"role": "user", "content": {}},
    {"role": "user", "content": [None, 5, [], {}, {"type": "text"}, {"type": "text", "text": 7}]},
    {"role": "user", "content": [{"type": "image_url"}, {"type": "input_audio", "input_audio": []}]},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/"}}]},
    {"role": "assistant", "tool_calls": 5}, {"role": "assistant", "tool_calls": [{}, None, {"function": 5}]},
    {"role": "tool", "tool_call_id": [], "content": ""}, {"content": "x", "role": "user", "name": {"a": 1}},
]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES, ids=range(len(MESSAGES)))
@pytest.mark.parametrize("model", ["gpt-4o-mini", "fake/reflect"])
def test_messages_of_any_shape_are_never_a_5xx(client: httpx2.Client, model: str, message: Any) -> None:
    for stream in (False, True):
        body = {"model": model, "messages": [message, message], "stream": stream}
        assert post(client, "/v1/chat/completions", json.dumps(body).encode()).status_code < 500


@pytest.mark.parametrize("value", ["5", "x" * 300, "null", "-1", "0", "NaN", "inf", "1e999", "1, 2", "é".encode()])
@pytest.mark.parametrize(
    "name",
    [
        "x-governor-latency-budget-ms", "x-governor-hops", "x-governor-deployment", "idempotency-key", "cache-control",
        "traceparent", "x-portkey-metadata", "x-litellm-tags", "x-session-id", "helicone-property-a", "x-governor-user",
        "authorization", "content-type", "accept", "origin", "x-forwarded-for", "x-request-id", "expect",
    ],
)  # fmt: skip
def test_headers_of_any_content_are_never_a_crash(client: httpx2.Client, name: str, value: str | bytes) -> None:
    body = json.dumps({"model": "fake/ok", "messages": say()}).encode()
    raw = [
        (b"content-type", b"application/json"),
        (name.encode(), value if isinstance(value, bytes) else value.encode()),
    ]
    reply = client.post("/v1/chat/completions", content=body, headers=raw)
    assert reply.status_code in (
        (200, 400, 403, 404, 508) if name != "x-governor-latency-budget-ms" else (200, 400, 504)
    )
    known = {
        "content-type",
        "content-length",
        "cache-control",
        "vary",
        "x-content-type-options",
        "x-should-retry",
        "age",
    }
    unknown = [
        each for each in reply.headers if each not in known and not each.startswith(("x-governor-", "x-litellm-"))
    ]
    assert unknown == ["x-request-id"]


SCHEMAS: list[Any] = [
    {"type": "array", "minItems": 10**9}, {"type": "string", "minLength": 10**12}, {"allOf": [{"$ref": "#"}] * 2},
    {"type": "object", "properties": {name: {"$ref": "#"} for name in "abcdefghij"}, "required": list("abcdefghij")},
    {"type": "array", "minItems": "x"}, {"type": "integer", "minimum": 1e308, "multipleOf": 1e-300}, {"properties": 5},
    {"type": "number", "multipleOf": 0}, {"type": {"a": 1}}, {"enum": 5}, {"$ref": 7}, {"anyOf": {"a": 1}},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_a_schema_that_demands_the_impossible_is_a_400_at_most(client: httpx2.Client, schema: dict[str, Any]) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    for more in ({"response_format": form}, {"tools": tools, "tool_choice": "required"}):
        body = {"model": "gpt-4o-mini", "messages": say()} | more
        assert post(client, "/v1/chat/completions", json.dumps(body).encode()).status_code in (200, 400)


def test_an_embedding_of_impossible_size_is_a_400(client: httpx2.Client) -> None:
    for more in ({"dimensions": 2**31}, {"dimensions": 10**30}, {"input": ["x"] * 10_000}):
        body = {"model": "text-embedding-3-small", "input": "x"} | more
        assert post(client, "/v1/embeddings", json.dumps(body).encode()).status_code == 400


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_answers_nonsense_is_a_502_and_no_crash(
    client: httpx2.Client, place: Place, name: str, stream: bool
) -> None:
    body = {"model": f"fake/odd:{name}", "messages": say(), "stream": stream}
    reply = post(client, "/v1/chat/completions", json.dumps(body).encode())
    assert "internal_error" not in reply.text
    assert reply.status_code in (200, 502)
    row = place.row(reply.headers["x-governor-call-id"])
    assert row["error_code"] in (None, "upstream_invalid_response")
    if stream and row["status"] == "failed":
        assert "upstream_invalid_response" in reply.text
        assert "[DONE]" not in reply.text


def test_a_bomb_is_refused_and_a_compressed_body_is_understood(client: httpx2.Client) -> None:
    import gzip

    sound = json.dumps({"model": "fake/ok", "messages": say()}).encode()
    headers = {"content-encoding": "gzip"}
    assert post(client, "/v1/chat/completions", gzip.compress(sound), **headers).status_code == 200
    for megabytes in (3, 60):
        bomb = gzip.compress(b" " * (megabytes * 1_000_000) + sound)
        assert post(client, "/v1/chat/completions", bomb, **headers).status_code == 413
    assert post(client, "/v1/chat/completions", sound, **headers).status_code == 400
    assert post(client, "/v1/chat/completions", sound, **{"content-encoding": "br"}).status_code == 415


def test_a_body_beyond_the_limit_is_a_413(client: httpx2.Client) -> None:
    body = {"model": "fake/ok", "messages": [{"role": "user", "content": "x" * 2_100_000}]}
    assert post(client, "/v1/chat/completions", json.dumps(body).encode()).status_code == 413
