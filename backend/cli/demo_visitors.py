"""Visitors of the demo: a few simulated calls a second through the gateway, for as long as it runs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass
from random import Random
from typing import Any

import aiohttp

from backend.cli import demo_cast as cast
from backend.cli.health import show_address
from backend.environment import Environment

CALLS_PER_S = 3.0
PATIENCE_S = 60.0

TOPICS = (
    "reset my password",
    "read the invoice of last month",
    "change the delivery address",
    "cancel an order that was sent",
    "export all customers as CSV",
    "connect the calendar",
    "raise the storage limit",
    "translate this page into Portuguese",
    "add a colleague to the project",
    "find the report of the third quarter",
    "undo the last import",
    "move a board to another team",
)
QUESTIONS = (
    "How do I {topic}?",
    "Where can I {topic}?",
    "I tried to {topic} and it failed. What now?",
    "Write three steps that explain how to {topic}.",
    "Is it safe to {topic} on a phone?",
)


@dataclass(frozen=True, slots=True)
class Visit:
    """One call of one visitor."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    patience_s: float
    """When the visitor leaves, answer or not."""


def draw_visit(rng: Random) -> Visit:
    """A call like those of the recorded fortnight, marked as the demo's."""
    feature = rng.choices(cast.FEATURES, [each.share for each in cast.FEATURES])[0]
    model = rng.choices(list(feature.models), list(feature.models.values()))[0]
    question = rng.choice(QUESTIONS).format(topic=rng.choice(TOPICS))
    if rng.random() > feature.repeat_share * 2:
        question += f" (ticket {rng.randrange(10**6):06d})"
    headers = {
        "x-governor-feature": cast.DEMO,
        "x-governor-user": f"{feature.department}-{min(int(rng.paretovariate(0.9)), feature.users):03d}",
        "x-governor-department": feature.department,
        "x-governor-environment": rng.choices(list(cast.ENVIRONMENTS), list(cast.ENVIRONMENTS.values()))[0],
    }
    leaves = rng.random() < 0.02
    if feature.endpoint == "embeddings":
        return Visit("/v1/embeddings", {"model": model, "input": question}, headers, PATIENCE_S)
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": question}]}
    body |= {"stream": True} if rng.random() < feature.stream_share else {}
    return Visit("/v1/chat/completions", body, headers, 0.6 if leaves else PATIENCE_S)


def run(environment: Environment) -> None:
    """Visits until SIGTERM."""
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_visit(show_address(environment.gateway_host, environment.gateway_port)))


async def _visit(url: str) -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    rng = Random()  # noqa: S311 - made-up traffic
    async with aiohttp.ClientSession(url) as session, asyncio.TaskGroup() as visits:
        while True:
            await asyncio.sleep(rng.expovariate(CALLS_PER_S))
            visits.create_task(_make(session, draw_visit(rng)))


async def _make(session: aiohttp.ClientSession, visit: Visit) -> None:
    """One call, read to its end or left early; a gateway that is away is no reason to stop."""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with asyncio.timeout(visit.patience_s):
            async with session.post(visit.path, json=visit.body, headers=visit.headers) as answer:
                await answer.read()
