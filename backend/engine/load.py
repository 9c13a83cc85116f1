"""Real load on one engine: so many callers at once over OpenAI streams, each call timed chunk by chunk.

Callers come back as soon as they are answered (closed loop). Calls that begin within the measured window count, and
all of them are waited for: none is left out for being slow. Tokens count when they arrive within the window.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from backend.engine.health import Place
from backend.engine.shapes import Shape, make_body

if TYPE_CHECKING:
    import aiohttp

LINE_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: ``concurrency`` callers, shapes drawn in turn, after a warm-up for a measured time (seconds)."""

    place: Place
    shapes: tuple[Shape, ...]
    concurrency: int
    server: str = "vllm"
    warm_up_s: float = 1.0
    measure_s: float = 10.0
    call_within_s: float = 300.0
    seed: int = 1


@dataclass(slots=True)
class Call:
    """One call as its caller saw it; times are seconds on one clock. ``error`` is None when it was answered whole."""

    began_s: float
    chunks_s: list[float] = field(default_factory=list)
    ended_s: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None

    @property
    def ttft_ms(self) -> float | None:
        """Milliseconds to the first token."""
        return (self.chunks_s[0] - self.began_s) * 1000 if self.chunks_s else None

    @property
    def itl_ms(self) -> float | None:
        """Mean milliseconds between tokens: (last − first chunk) / (tokens − 1)."""
        if self.completion_tokens < 2 or len(self.chunks_s) < 2:
            return None
        return (self.chunks_s[-1] - self.chunks_s[0]) * 1000 / (self.completion_tokens - 1)

    @property
    def total_ms(self) -> float:
        """Milliseconds until the end of the answer."""
        return (self.ended_s - self.began_s) * 1000

    def tokens_within(self, start_s: float, end_s: float) -> float:
        """Completion tokens that arrived within a time, taking every chunk for as many as any other."""
        if not self.chunks_s:
            return 0.0
        inside = sum(start_s <= each < end_s for each in self.chunks_s)
        return self.completion_tokens * inside / len(self.chunks_s)


@dataclass(frozen=True, slots=True)
class Run:
    """Every call of one load, and its measured window."""

    calls: Sequence[Call]
    start_s: float
    end_s: float

    @property
    def counted(self) -> list[Call]:
        """The calls that began within the window."""
        return [call for call in self.calls if self.start_s <= call.began_s < self.end_s]


async def run_load(load: Load) -> Run:
    """Send the load and wait for its answers; failures are kept on their calls, none is raised."""
    import aiohttp  # noqa: PLC0415 - only where something is measured

    calls: list[Call] = []
    start_s = time.perf_counter() + load.warm_up_s
    end_s = start_s + load.measure_s
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=load.call_within_s)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, read_bufsize=LINE_LIMIT, headers=load.place.headers
    ) as session:
        callers = [_call_until(session, load, number, end_s, calls) for number in range(load.concurrency)]
        await asyncio.gather(*callers)
    return Run(calls, start_s, end_s)


async def _call_until(session: aiohttp.ClientSession, load: Load, caller: int, end_s: float, calls: list[Call]) -> None:
    chance = random.Random(load.seed * 1_000_003 + caller)  # noqa: S311 - the same load every time, no secret
    turn = caller
    while time.perf_counter() < end_s:
        shape = load.shapes[turn % len(load.shapes)]
        turn += load.concurrency
        call = await send(session, load, make_body(shape, load.place.model, load.server, chance))
        calls.append(call)
        if call.error is not None:
            await asyncio.sleep(0.1)  # a server that refuses everything shall not be hammered


async def send(session: aiohttp.ClientSession, load: Load, body: dict[str, Any]) -> Call:
    """One streamed call, timed."""
    import aiohttp  # noqa: PLC0415 - as above

    call = Call(time.perf_counter())
    try:
        async with session.post(f"{load.place.url}/completions", data=orjson.dumps(body)) as response:
            if response.status != 200:
                call.error = f"{response.status}: {(await response.text())[:200]}"
            else:
                await _read_stream(response, call)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        call.error = f"{type(error).__name__}: {error}"[:200]
    call.ended_s = time.perf_counter()
    if call.error is None and not call.completion_tokens:
        call.error = "an answer without a token"
    return call


async def _read_stream(response: aiohttp.ClientResponse, call: Call) -> None:
    whole = False
    async for line in response.content:
        if not line.startswith(b"data:"):
            continue
        if line[5:].strip() == b"[DONE]":
            whole = True
            continue
        event = orjson.loads(line[5:])
        if any("text" in choice or "delta" in choice for choice in event.get("choices") or ()):
            call.chunks_s.append(time.perf_counter())
        usage = event.get("usage") or {}
        call.prompt_tokens = usage.get("prompt_tokens") or call.prompt_tokens
        call.completion_tokens = usage.get("completion_tokens") or call.completion_tokens
        if "error" in event:
            call.error = str(event["error"])[:200]
    if not whole and call.error is None:
        call.error = "the stream ended before its end"
    call.completion_tokens = call.completion_tokens or len(call.chunks_s)
