"""The simulated provider: deterministic answers with the pace, tokens and shape of a real one, always labelled."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson

from backend.call import Chunk
from backend.errors import UpstreamRefused
from backend.settings.knobs import Simulation
from backend.upstream import simulated_wire as wire
from backend.upstream.request import UpstreamRequest
from backend.upstream.simulated_answer import (
    CHARACTERS_PER_TOKEN,
    Answer,
    Prompt,
    compose_answer,
    count_tokens,
    draw_seed,
    draw_share,
    draw_spread,
    read_prompt,
)

PREFIX_LEAST_TOKENS = 1024
PREFIX_STEP_TOKENS = 128
MOST_PREFIXES = 50_000
MOST_CHOICES = 128

_NONSENSE = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What reading a field raises that is not what it should be: a real provider would answer 400."""
_REQUIRED = {"chat.completions": "messages", "completions": "prompt", "embeddings": "input"}


@dataclass(slots=True)
class Pace:
    """When each token of one answer is due: after the first-token time, then at a steady speed."""

    ttft_s: float
    tokens_per_s: float
    started: float = field(default_factory=time.perf_counter)

    async def wait(self, tokens: int) -> None:
        """Sleeps until so many tokens are due; a wait shorter than the clock's grain is skipped."""
        delay_s = self.started + self.ttft_s + tokens / self.tokens_per_s - time.perf_counter()
        if delay_s > 0.0005:
            await asyncio.sleep(delay_s)


class SimulatedClient:
    """Answers without a model; what it says depends on prompt and model, its pace on the deployment's simulation."""

    def __init__(self) -> None:
        self._prefixes: OrderedDict[bytes, None] = OrderedDict()

    async def stream(self, request: UpstreamRequest) -> AsyncGenerator[Chunk]:
        """Chunks of the answer, in time; a whole body is one chunk. Raises ``UpstreamRefused``."""
        try:
            async with aclosing(self._play(request)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except _NONSENSE:
            message = "The simulated provider cannot make sense of this request."
            raise _refuse(400, message, "invalid_request_error", "invalid_value") from None

    async def _play(self, request: UpstreamRequest) -> AsyncGenerator[Chunk]:
        body, endpoint = request.body, request.call.endpoint
        model = request.model
        simulation = request.deployment.simulation or Simulation()
        _require(body, _REQUIRED[endpoint])
        prompt = read_prompt(body)
        seed = draw_seed(model, endpoint, prompt.text or body.get("input"), body.get("seed") or 0)
        pace = Pace(simulation.ttft_ms / 1000 * draw_spread(seed >> 32, 0.25), simulation.tokens_per_s)
        await _fail_sometimes(request.deployment.name, simulation, seed, pace)
        if endpoint == "embeddings":
            texts, tokens = _read_inputs(body["input"])
            await pace.wait(0)
            yield _whole(wire.build_embeddings(model, body, texts, tokens))
            return
        answers = _compose_choices(body, model, seed, simulation.completion_tokens)
        usage = wire.build_usage(prompt.tokens, self._count_cached(model, prompt), answers)
        if not request.call.stream:
            await pace.wait(sum(len(answer.pieces) for answer in answers))
            yield _whole(wire.build_body(endpoint, model, answers, usage))
            return
        shows_usage = request.call.wants_usage
        for tokens, event in wire.build_events(endpoint, model, answers, usage, shows_usage=shows_usage):
            await pace.wait(max(0, tokens - 1))
            yield Chunk(orjson.dumps(event), event)

    async def close(self) -> None:
        """Nothing is held open."""

    def _count_cached(self, model: str, prompt: Prompt) -> int:
        """Tokens of the prompt's beginning that an earlier prompt had too: from 1024 on, in steps of 128."""
        cached = 0
        digest = blake2b(model.encode(), digest_size=16)
        encoded = prompt.text.encode("utf-8", "surrogatepass")
        start = 0
        for tokens in range(PREFIX_LEAST_TOKENS, prompt.tokens + 1, PREFIX_STEP_TOKENS):
            end = tokens * CHARACTERS_PER_TOKEN
            if end > len(encoded):
                break
            digest.update(encoded[start:end])
            start = end
            cached = tokens if self._remember(digest.digest()) else cached
        return min(cached, prompt.tokens)

    def _remember(self, key: bytes) -> bool:
        known = key in self._prefixes
        self._prefixes[key] = None
        self._prefixes.move_to_end(key)
        if len(self._prefixes) > MOST_PREFIXES:
            self._prefixes.popitem(last=False)
        return known


def _require(body: dict[str, Any], name: str) -> None:
    if not body.get(name):
        raise _refuse(
            400, f"Missing required parameter: '{name}'.", "invalid_request_error", "missing_required_parameter"
        )


async def _fail_sometimes(deployment: str, simulation: Simulation, seed: int, pace: Pace) -> None:
    """Refuses the share of prompts that the simulation says; another deployment refuses other prompts."""
    if simulation.error_rate == 0:
        return
    drawn = draw_seed(deployment, seed)
    if draw_share(drawn) < simulation.error_rate:
        await pace.wait(0)
        if drawn >> 64 & 3:
            raise _refuse(500, "The simulated provider failed on purpose.", "server_error", "simulated_failure")
        raise _refuse(429, "The simulated provider is busy on purpose.", "requests", "rate_limit_exceeded")


def _refuse(status: int, message: str, kind: str, code: str) -> UpstreamRefused:
    error = {"message": message, "type": kind, "param": None, "code": code}
    return UpstreamRefused(message, status=status, body=orjson.dumps({"error": error}))


def _compose_choices(body: dict[str, Any], model: str, seed: int, median_tokens: int) -> list[Answer]:
    """As many choices as ``n`` (and prompts) ask for, each different."""
    wanted = body.get("n")
    count = min(wanted, MOST_CHOICES) if isinstance(wanted, int) and wanted > 0 else 1
    prompts = body.get("prompt")
    if isinstance(prompts, list) and prompts and isinstance(prompts[0], str | list):
        count = min(count * len(prompts), MOST_CHOICES)
    seeds = [seed, *(draw_seed(seed, index) for index in range(1, count))]
    return [compose_answer(body, model, each, median_tokens) for each in seeds]


def _read_inputs(inputs: Any) -> tuple[list[str], int]:
    """The texts to embed and their tokens; a list of numbers is one text that is already tokens."""
    if not isinstance(inputs, list) or isinstance(inputs[0], int):
        inputs = [inputs]
    tokens = sum(len(each) if isinstance(each, list) else count_tokens(str(each)) for each in inputs)
    texts = [" ".join(map(str, each)) if isinstance(each, list) else str(each) for each in inputs]
    return texts, tokens


def _whole(body: dict[str, Any]) -> Chunk:
    return Chunk(orjson.dumps(body), body)
