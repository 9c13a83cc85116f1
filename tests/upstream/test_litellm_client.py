"""LiteLLM as a translator: what reaches it, what comes back, and how its failures are told apart."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from backend.call import Call, Chunk
from backend.errors import BadRequest, GatewayError, UpstreamRefused, UpstreamTimeout
from backend.pricing.usage import read_usage
from backend.settings.knobs import UpstreamSettings
from backend.upstream.litellm_client import LiteLLMClient, qualified_model
from backend.upstream.prefix import set_mark
from backend.upstream.request import UpstreamRequest, final_body
from tests.fakes import call, deployment, events, usage, whole
from tests.faults.upstream import Upstream, UpstreamJournal

FOREIGN = (
    "api_base base_url api_key api_version organization custom_llm_provider extra_headers headers client fallbacks "
)
FOREIGN += "context_window_fallback_dict model_list mock_response caching cache callbacks success_callback num_retries "
FOREIGN += "max_retries litellm_params aws_region_name vertex_credentials azure_ad_token logger_fn metadata timeout "
FOREIGN += "proxy_server_request extra_body"
KNOBS = UpstreamSettings(idle_timeout_s=0.2, first_token_timeout_s=0.2)


class Said:
    """What LiteLLM returns: an object that knows how to become a dictionary."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def model_dump(self, **_: Any) -> dict[str, Any]:
        return self._document


class FakeLibrary:
    """Remembers what it was asked, and answers."""

    def __init__(self, answer: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answer = answer
        self.acompletion = self.atext_completion = self.aembedding = self.call

    async def call(self, **arguments: Any) -> Any:
        self.asked.append(arguments)
        if isinstance(self._answer, BaseException):
            raise self._answer
        if self._answer is None:
            await asyncio.Event().wait()
        return _stream(self._answer) if isinstance(self._answer, list) else Said(self._answer)


async def _stream(answer: list[Any]) -> AsyncIterator[Said]:
    for each in answer:
        if isinstance(each, BaseException):
            raise each
        if each is None:
            await asyncio.Event().wait()
        yield Said(each)


def request(asked: Call | None = None, deadline_s: float = 1.0, **changes: Any) -> UpstreamRequest:
    asked = asked or call()
    one = deployment(**({"provider": "anthropic"} | changes))
    return UpstreamRequest(one, asked, final_body(asked, one, ask_usage=True), KNOBS, deadline_s)


async def collect(library: Any, asked: UpstreamRequest) -> list[Chunk]:
    client = LiteLLMClient()
    client._library = library
    return [chunk async for chunk in client.stream(asked)]


async def test_an_answer_and_a_stream_pass() -> None:
    (chunk,) = await collect(FakeLibrary(whole()), request())
    assert chunk.event == whole()
    stream = events("a", "b", stated=usage(1, 2))
    chunks = await collect(FakeLibrary(stream), request(call(stream=True)))
    assert [chunk.event for chunk in chunks] == stream


async def test_nothing_a_caller_sends_chooses_host_credential_or_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_KEY", "sk-ours")
    theirs: dict[str, Any] = dict.fromkeys(FOREIGN.split(), "http://127.0.0.1:9/")
    library = FakeLibrary(whole())
    await collect(library, request(call(**theirs), api_key_env="OUR_KEY", base_url="http://ours/v1"))
    (asked,) = library.asked
    assert (asked["api_key"], asked["api_base"], asked["model"]) == ("sk-ours", "http://ours/v1", "anthropic/m")
    assert (asked["num_retries"], asked["max_retries"], asked["caching"]) == (0, 0, False)
    assert "http://127.0.0.1:9/" not in [value for value in asked.values() if isinstance(value, str)]
    assert asked.keys() <= {
        "messages", "model", "api_key", "api_base", "num_retries", "max_retries", "timeout", "caching"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["temperature", "tools", "response_format", "seed", "stop", "max_tokens", "user"])
async def test_what_shapes_the_answer_is_passed_on(name: str) -> None:
    library = FakeLibrary(whole())
    await collect(library, request(call(**dict[str, Any]({name: 1}))))
    assert library.asked[0][name] == 1


async def test_pictures_of_elsewhere_are_never_fetched() -> None:
    for address in ("http://127.0.0.1:9/x.png", "https://example.com/x", "file:///etc/passwd", "//x", 5, ["data:"]):
        part = {"type": "image_url", "image_url": {"url": address}}
        library = FakeLibrary(whole())
        with pytest.raises(BadRequest):
            await collect(library, request(call(messages=[{"role": "user", "content": [part]}])))
        assert library.asked == []
    own = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    assert await collect(FakeLibrary(whole()), request(call(messages=[{"role": "user", "content": [own]}])))


class APIConnectionError(Exception):
    """As LiteLLM names it."""


class Timeout(Exception):
    """As LiteLLM names it."""


class ConnectError(Exception):
    """As HTTP clients name it."""


def refused(status: int, message: str = "litellm.BadRequestError: too hot", **headers: str) -> Exception:
    error = RuntimeError(message)
    error.status_code = status  # type: ignore[attr-defined]
    error.message = message  # type: ignore[attr-defined]
    error.response = SimpleNamespace(headers=headers)  # type: ignore[attr-defined]
    return error


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (refused(400), 400, "upstream_400"),
        (refused(429, **{"retry-after": "2"}), 429, "upstream_429"),
        (refused(500), 500, "upstream_500"),
        (refused(401, "Incorrect key sk-abc"), 502, "upstream_auth"),
        (Timeout("slow"), 504, "upstream_timeout"),
        (APIConnectionError("odd"), 502, "upstream_interrupted"),
        (caused(APIConnectionError("away"), ConnectError("refused")), 502, "upstream_unreachable"),
        (ValueError("whatever sk-abc"), 502, "upstream_interrupted"),
        (KeyError("choices"), 502, "upstream_interrupted"),
    ],
)
@pytest.mark.parametrize("where", ["before", "within"])
async def test_failures_are_told_apart(fault: Exception, status: int, code: str, where: str) -> None:
    library = FakeLibrary(fault if where == "before" else [events("a")[0], fault])
    with pytest.raises(GatewayError) as caught:
        await collect(library, request(call(stream=True)))
    assert (caught.value.status, caught.value.code) == (status, code)
    assert "sk-abc" not in caught.value.message
    if isinstance(caught.value, UpstreamRefused) and status == 429:
        assert caught.value.retry_after_ms == 2000


@pytest.mark.parametrize("answer", [None, [events("a")[0], None]])
async def test_silence_is_given_up(answer: Any) -> None:
    with pytest.raises(UpstreamTimeout):
        await collect(FakeLibrary(answer), request(call(stream=True)))
    with pytest.raises(UpstreamTimeout):
        await collect(FakeLibrary(None), request(deadline_s=0.05))


@pytest.mark.parametrize(
    ("provider", "model", "qualified"),
    [
        ("anthropic", "claude", "anthropic/claude"),
        ("bedrock", "bedrock/x", "bedrock/x"),
        ("azure", "gpt/4", "azure/gpt/4"),
    ],
)
def test_models_are_named_as_litellm_names_them(provider: str, model: str, qualified: str) -> None:
    assert qualified_model(deployment(provider=provider), model) == qualified


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # LiteLLM's own, at import and in use
async def test_the_real_library_reaches_a_provider_with_our_settings_only(tmp_path: Path) -> None:
    client = LiteLLMClient()
    with UpstreamJournal(tmp_path / "upstream.jsonl") as journal:
        async with Upstream(journal) as server:
            for model, stream in (("fake/ok", False), ("fake/ok", True)):
                asked = request(call(model, stream=stream), 30.0, provider="deepseek", base_url=server.url)
                asked = UpstreamRequest(asked.deployment, asked.call, asked.body, UpstreamSettings(), 30.0)
                chunks = [chunk async for chunk in client.stream(asked)]
                assert chunks[-1].event["usage"]["completion_tokens"] > 0
            asked = request(call("fake/status:500"), 30.0, provider="deepseek", base_url=server.url)
            with pytest.raises(UpstreamRefused) as caught:
                _ = [chunk async for chunk in client.stream(asked)]
            assert caught.value.status == 500
    assert (tmp_path / "upstream.jsonl").read_bytes().count(b'"end":"open"') == 3  # accepted once each: no retries
    litellm: Any = sys.modules["litellm"]
    assert (litellm.callbacks, litellm.success_callback, litellm.telemetry) == ([], [], False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # LiteLLM's own, at import and in use
async def test_tools_and_prefix_marks_reach_anthropics_own_wire_and_its_written_tokens_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OUR_KEY", "sk-ours")
    said: list[dict[str, Any]] = []

    async def messages(asked: web.Request) -> web.Response:
        said.append(await asked.json())
        used = {"input_tokens": 3, "output_tokens": 1, "cache_creation_input_tokens": 100}
        content = [{"type": "text", "text": "hi"}]
        frame = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn"}
        return web.json_response({**frame, "content": content, "usage": used})

    place = web.Application()
    place.router.add_post("/v1/messages", messages)
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
    turns = [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c")]
    body = call(messages=[{"role": role, "content": text} for role, text in turns], tools=[tool], max_tokens=5)
    for stage in ("tools", "system prompt", "earlier turns"):
        body.body = set_mark(body.body, stage)
    async with TestServer(place) as server:
        address = str(server.make_url("")).rstrip("/")
        asked = request(
            body, 30.0, api_key_env="OUR_KEY", base_url=address, upstream_model="claude-3-5-sonnet-20241022"
        )
        client = LiteLLMClient()
        (chunk,) = [chunk async for chunk in client.stream(asked)]
    mark = {"type": "ephemeral"}
    assert said[0]["tools"][-1]["cache_control"] == mark
    assert said[0]["system"][-1]["cache_control"] == mark
    assert [turn["content"][-1].get("cache_control") for turn in said[0]["messages"]] == [None, mark, None]
    stated = read_usage(chunk.event["usage"])
    assert (stated.prompt_tokens, stated.cache_write_tokens, stated.completion_tokens) == (103, 100, 1)
