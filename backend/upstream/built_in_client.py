"""Embeddings without a provider: the model that comes with Governor, behind its micro-batcher, on OpenAI's wire."""

from __future__ import annotations

import base64
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from backend.answer import Whole
from backend.call import Chunk, Chunks
from backend.errors import UpstreamInterrupted
from backend.upstream.refusals import refusal
from backend.upstream.request import UpstreamRequest

Embed = Callable[[list[str]], Awaitable[tuple[Sequence[Sequence[float]], int]]]
"""Texts in; a vector for each, and how many tokens they are together, out."""

_MOST_TEXTS = 2048


class BuiltInClient:
    """Answers ``/v1/embeddings`` in this process; every other endpoint is refused."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed

    def stream(self, request: UpstreamRequest) -> Chunks:
        """One chunk with the whole answer; raises ``UpstreamError`` subclasses only."""
        return Whole(self._answer(request))

    async def _answer(self, request: UpstreamRequest) -> Chunk:
        name, body = request.deployment.name, request.body
        if request.call.endpoint != "embeddings":
            raise _refuse(name, "This deployment serves embeddings only.", None)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if not all(isinstance(text, str) and text for text in texts) or len(texts) > _MOST_TEXTS:
            raise _refuse(name, f"input must be a text or at most {_MOST_TEXTS} texts, none of them empty.", "input")
        try:
            vectors, tokens = await self._embed(texts)
        except Exception as error:
            raise UpstreamInterrupted(f"Deployment {name} cannot embed ({type(error).__name__}).") from error
        if body.get("dimensions") not in (None, len(vectors[0])):
            raise _refuse(name, f"dimensions can only be {len(vectors[0])}.", "dimensions")
        show = _pack if body.get("encoding_format") == "base64" else list
        data = [{"object": "embedding", "index": n, "embedding": show(vector)} for n, vector in enumerate(vectors)]
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
        event = {"object": "list", "data": data, "model": request.model, "usage": usage}
        return Chunk(orjson.dumps(event), event)


def _pack(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _refuse(name: str, message: str, param: str | None) -> Exception:
    shape: dict[str, Any] = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    return refusal(name, 400, {}, orjson.dumps({"error": shape}))
