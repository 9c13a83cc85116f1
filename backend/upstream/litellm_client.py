"""Every other provider, translated by the LiteLLM library: imported on first use, retries and callbacks off."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import orjson

from backend.call import Chunk
from backend.errors import (
    BadRequest,
    GatewayError,
    UpstreamError,
    UpstreamInterrupted,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from backend.settings.knobs import Deployment
from backend.upstream.refusals import read_retry_after, refusal
from backend.upstream.request import UpstreamRequest

_FUNCTIONS = {"chat.completions": "acompletion", "completions": "atext_completion", "embeddings": "aembedding"}

_FIELDS = frozenset(
    [
        "messages",
        "prompt",
        "input",
        "suffix",
        "echo",
        "best_of",
        "temperature",
        "top_p",
        "n",
        "stream",
        "stream_options",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "user",
        "response_format",
        "seed",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "functions",
        "function_call",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "thinking",
        "modalities",
        "audio",
        "prediction",
        "service_tier",
        "verbosity",
        "encoding_format",
        "dimensions",
        "top_k",
    ]
)
"""Body fields that reach LiteLLM: its keyword arguments also choose hosts and credentials (FAILURES G02)."""

_NEVER_CONNECTED = frozenset({"ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionTimeoutError"})
_MOST_CAUSES = 20


class LiteLLMClient:
    """Calls ``litellm.acompletion`` and its siblings; never its router, cache, callbacks or budgets."""

    def __init__(self) -> None:
        self._library: Any = None
        self._loading = asyncio.Lock()

    async def stream(self, request: UpstreamRequest) -> AsyncGenerator[Chunk]:
        """Send the request and yield the answer; raises ``UpstreamError`` subclasses only."""
        library = self._library or await self._load()
        name = request.deployment.name
        function = getattr(library, _FUNCTIONS[request.call.endpoint])
        settings = request.settings
        wait_s = settings.first_token_timeout_s if request.call.stream else request.deadline_s
        try:
            async with asyncio.timeout(min(wait_s, request.deadline_s)):
                answer = await function(**_arguments(request))
            if not request.call.stream:
                event = answer.model_dump(exclude_none=False, mode="json")
                yield Chunk(orjson.dumps(event), event)
                return
            async for event in _events(answer, settings.idle_timeout_s):
                yield Chunk(orjson.dumps(event), event)
        except GatewayError:
            raise
        except TimeoutError:
            raise UpstreamTimeout(f"Deployment {name} did not answer in time.") from None
        except Exception as error:  # noqa: BLE001 - providers raise anything; callers see one kind
            raise _translate(error, name) from None

    async def _load(self) -> Any:
        async with self._loading:
            if self._library is None:
                self._library = await asyncio.to_thread(load_library)
                gc.freeze()  # the library stays as long as the worker; collections need not look at it
        return self._library


def load_library() -> Any:
    """Import LiteLLM (seconds) without network: local price map, no callbacks, no retries, no telemetry."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.ERROR)
    litellm.telemetry = False
    litellm.num_retries = 0
    litellm.suppress_debug_info = True
    litellm.disable_streaming_logging = True
    for name in ("callbacks", "success_callback", "failure_callback", "input_callback"):
        setattr(litellm, name, [])
    return litellm


def _arguments(request: UpstreamRequest) -> dict[str, Any]:
    deployment = request.deployment
    _refuse_remote_images(request.body)
    arguments = {name: value for name, value in request.body.items() if name in _FIELDS}
    arguments["model"] = qualified_model(deployment, request.model)
    arguments |= {"num_retries": 0, "max_retries": 0, "timeout": request.deadline_s, "caching": False}
    if arguments.get("tools"):
        arguments["_skip_mcp_handler"] = True  # else any tool makes it import its proxy, which is not installed
    if deployment.base_url:
        arguments["api_base"] = deployment.base_url
    if deployment.api_key_env:
        arguments["api_key"] = os.environ.get(deployment.api_key_env, "")
    return arguments


def _refuse_remote_images(body: dict[str, Any]) -> None:
    """LiteLLM fetches some image addresses itself; the gateway never does (FAILURES G12)."""
    for message in body.get("messages") or ():
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            image = part.get("image_url") if isinstance(part, dict) else None
            address = image.get("url") if isinstance(image, dict) else image
            if address is not None and not str(address).startswith("data:"):
                raise BadRequest("This deployment takes images as data: URLs only.", param="messages")


def qualified_model(deployment: Deployment, model: str) -> str:
    """LiteLLM's name of a deployment's model: ``provider/model``."""
    return model if model.startswith(f"{deployment.provider}/") else f"{deployment.provider}/{model}"


async def _events(answer: Any, idle_s: float) -> AsyncIterator[dict[str, Any]]:
    iterator = aiter(answer)
    while True:
        try:
            async with asyncio.timeout(idle_s):
                chunk = await anext(iterator)
        except StopAsyncIteration:
            return
        yield chunk.model_dump(mode="json", exclude_none=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _translate(error: Exception, name: str) -> UpstreamError:
    """LiteLLM's exception by its HTTP status; texts that speak of credentials are not passed on."""
    kind, status = type(error).__name__, getattr(error, "status_code", None)
    if "Timeout" in kind:
        return UpstreamTimeout(f"Deployment {name} did not answer in time.")
    if any(type(cause).__name__ in _NEVER_CONNECTED for cause in _causes(error)):
        return UpstreamUnreachable(f"Deployment {name} could not be reached.")
    if kind == "APIConnectionError" or not isinstance(status, int):  # LiteLLM's word for whatever it did not expect
        return UpstreamInterrupted(f"Deployment {name} failed ({kind}).")
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    message = str(getattr(error, "message", "") or kind).removeprefix(f"litellm.{kind}: ")
    shape = {"message": message, "type": "upstream_error", "param": None, "code": kind}
    refused = refusal(name, status, headers, orjson.dumps({"error": shape}))
    refused.retry_after_ms = read_retry_after(headers)
    return refused
