"""Callers of a gateway that come back as soon as they are answered, and what each of them saw."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.cli.governor_process import GovernorProcess


@dataclass
class Outcome:
    """What a caller saw; ``whole`` when the answer came to its end."""

    status: int
    whole: bool
    text: str = ""


@dataclass
class Load:
    """Some callers of one model, every second of them streaming, until they are told to end."""

    port: int
    model: str
    outcomes: list[Outcome] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, callers: int) -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._keep_calling(session, bool(number % 2)) for number in range(callers)))

    async def _keep_calling(self, session: aiohttp.ClientSession, stream: bool) -> None:
        while not self.done.is_set():
            words = f"say something new {len(self.outcomes)} {stream}"
            url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
            self.outcomes.append(await ask(session, url, self.model, words, stream=stream))


async def ask(session: aiohttp.ClientSession, url: str, model: str, words: str, *, stream: bool) -> Outcome:
    """One call."""
    message = {"role": "user", "content": words}
    body = {"model": model, "messages": [message], "max_tokens": 16, "stream": stream}
    async with session.post(url, json=body, timeout=aiohttp.ClientTimeout(300)) as answer:
        try:
            text = (await answer.read()).decode()
        except aiohttp.ClientPayloadError:
            return Outcome(answer.status, whole=False)
    failed = '"error":' in text  # with its colon: a model may well say the word
    ended = ("data: [DONE]" in text and not failed) if stream else "choices" in text
    return Outcome(answer.status, answer.status == 200 and ended, text)


async def ask_once(port: int, model: str, words: str, *, stream: bool = False) -> Outcome:
    """One call by a caller of its own."""
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with aiohttp.ClientSession() as session:
        return await ask(session, url, model, words, stream=stream)


def export(gateway: GovernorProcess) -> list[dict[str, Any]]:
    """Every call in the ledger, oldest first."""
    with GovernorProcess(gateway.folder, "calls", "export", "--json") as command:
        assert command.child.wait(60) == 0
        command.stop()
        return [orjson.loads(line) for line in command.lines]


def count_whole(outcomes: Sequence[Outcome]) -> int:
    """How many answers came to their end."""
    return sum(each.whole for each in outcomes)
