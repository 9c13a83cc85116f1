"""Embeddings in this process, as an OpenAI client expects them."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from backend.call import Chunk
from backend.errors import UpstreamError, UpstreamInterrupted, UpstreamRefused
from backend.settings.knobs import UpstreamSettings
from backend.upstream.built_in_client import BuiltInClient
from backend.upstream.request import UpstreamRequest
from tests.fakes import call, deployment

BUILT_IN = deployment("own", provider="built-in", model="mini")


async def embed(texts: list[str]) -> tuple[list[list[float]], int]:
    return [[float(len(text)), 0.5] for text in texts], sum(map(len, texts))


async def ask(endpoint: Any = "embeddings", **body: Any) -> dict[str, Any]:
    asked = call("mini", endpoint, **body)
    request = UpstreamRequest(BUILT_IN, asked, asked.body, UpstreamSettings(), 1.0)
    chunks: list[Chunk] = [chunk async for chunk in BuiltInClient(embed).stream(request)]
    return chunks[0].event


async def test_each_text_gets_its_own_vector_and_the_tokens_are_counted() -> None:
    answer = await ask(input=["a", "bbb"])
    assert [(item["index"], item["embedding"]) for item in answer["data"]] == [(0, [1.0, 0.5]), (1, [3.0, 0.5])]
    assert (answer["usage"]["prompt_tokens"], answer["model"]) == (4, "mini")


async def test_one_text_is_a_list_of_one() -> None:
    assert [item["embedding"] for item in (await ask(input="bb"))["data"]] == [[2.0, 0.5]]


async def test_base64_is_what_openais_client_asks_for() -> None:
    answer = await ask(input="bb", encoding_format="base64")
    assert struct.unpack("<2f", base64.b64decode(answer["data"][0]["embedding"])) == (2.0, 0.5)


@pytest.mark.parametrize(
    "body", [{"input": [[1, 2]]}, {"input": ["a", ""]}, {"input": ["a"] * 2049}, {"input": "a", "dimensions": 3}]
)
async def test_what_it_cannot_do_is_refused_as_openai_would(body: dict[str, Any]) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        await ask(**body)
    assert caught.value.status == 400
    assert b"invalid_request_error" in (caught.value.upstream_body or b"")


async def test_it_answers_no_chat() -> None:
    with pytest.raises(UpstreamError):
        await ask("chat.completions")


async def test_a_model_that_fails_is_an_interrupted_call_without_details(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_texts: list[str]) -> tuple[list[list[float]], int]:
        raise RuntimeError("secret")

    monkeypatch.setitem(globals(), "embed", fail)
    with pytest.raises(UpstreamInterrupted) as caught:
        await ask(input="a")
    assert "secret" not in str(caught.value)
