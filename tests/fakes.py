"""Fakes of what a gateway touches: the client of a provider, the ledger's spool, the cache's store, settings, keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import orjson

from backend.cache.exact import ExactCache, StoreUnavailable
from backend.cache.layers import Cache
from backend.call import Arrival, Attempt, Call, Chunk, Endpoint, Entry, Identity, StoredAnswer
from backend.errors import GatewayError, LedgerUnavailable
from backend.gateway.bill import Bill
from backend.gateway.gateway import Gateway
from backend.gateway.pipeline import answer
from backend.pricing.prices import PriceBook
from backend.routing.router import Router
from backend.settings.knobs import Deployment, PriceOverride, Settings
from backend.settings.live import Snapshot
from backend.upstream.dispatch import Dispatch
from backend.upstream.request import Client, UpstreamRequest

RATES = PriceOverride(input="0.15", output="0.60", cache_read="0.075")
PAUSE = object()
"""A step of a script that gives every other task its turn."""
HANG = object()
"""A step of a script that never ends."""

Step = object
Script = Sequence[Step]


def deployment(name: str = "local", **changes: Any) -> Deployment:
    """A deployment that answers to every model at known rates."""
    fixed: dict[str, Any] = {"name": name, "model": "*", "provider": "openai", "price": RATES}
    return Deployment(**(fixed | changes))


def settings(*deployments: Deployment, **sections: Any) -> Settings:
    """Settings with these deployments (or one) and nothing that waits."""
    upstream = {"backoff_ms": 0, "cooldown_failures": 1000} | sections.pop("upstream", {})
    return Settings(deployments=deployments or (deployment(),), upstream=upstream, **sections)


def call(model: str = "m", endpoint: Endpoint = "chat.completions", **body: Any) -> Call:
    """A valid call; what is not said is a chat of one message."""
    content = {"messages": [{"role": "user", "content": "hello"}]} if endpoint == "chat.completions" else {}
    options = body.get("stream_options") or {}
    whole = {"model": model, **content, **body}
    return Call(endpoint, whole, model, bool(body.get("stream")), options.get("include_usage") is True)


def arrival(endpoint: Endpoint = "chat.completions", headers: dict[bytes, bytes] | None = None, **body: Any) -> Arrival:
    """The same as it arrives: bytes and headers."""
    return Arrival(endpoint, headers or {}, orjson.dumps(call(body.pop("model", "m"), endpoint, **body).body))


def usage(prompt: int, completion: int) -> dict[str, int]:
    """A usage object."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def whole(text: str = "hello there", **changes: Any) -> dict[str, Any]:
    """A whole chat answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": "stop"}
    frame = {"id": "up-1", "object": "chat.completion", "created": 1, "model": "m-1", "choices": [choice]}
    return frame | {"usage": usage(7, 3)} | changes


def event(delta: dict[str, Any], finish_reason: str | None = None, **changes: Any) -> dict[str, Any]:
    """One event of a chat stream."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {
        "id": "up-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m-1",
        "choices": [choice],
    } | changes


def events(*words: str, stated: dict[str, int] | None = None) -> list[dict[str, Any]]:
    """A whole chat stream: role, words, finish and, where stated, usage."""
    stream = [event({"role": "assistant", "content": ""}), *(event({"content": word}) for word in words)]
    stream.append(event({}, "stop"))
    return [*stream, event({}, choices=[], usage=stated)] if stated else stream


class FakeClient:
    """Plays one script per attempt: a dictionary is a chunk, an exception is raised, the last script stays."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.requests: list[UpstreamRequest] = []
        self.closed = 0
        """Streams that were ended, whatever the way."""

    async def stream(self, request: UpstreamRequest) -> AsyncGenerator[Chunk]:
        self.requests.append(request)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            for step in script:
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, dict):
                    yield Chunk(orjson.dumps(step), step)
                else:
                    await (asyncio.sleep(0) if step is PAUSE else asyncio.Event().wait())
        finally:
            self.closed += 1

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What was sent, attempt by attempt."""
        return [request.body for request in self.requests]


@dataclass
class FakeLedger:
    """Remembers what was dispatched and recorded, with the state every row had at that moment."""

    worker: str = "worker"
    room: bool = True
    dispatched: list[tuple[str, int, str]] = field(default_factory=list)
    recorded: list[Entry] = field(default_factory=list)
    on_durable: Callable[[], None] = lambda: None

    def dispatching(self, entry: Entry, attempt: Attempt) -> None:
        if not self.room:
            raise LedgerUnavailable("no room")
        entry.dispatched = True
        self.dispatched.append((entry.id, attempt.number, attempt.deployment))

    def record(self, entry: Entry) -> None:
        self.recorded.append(replace(entry, tries=[replace(attempt) for attempt in entry.tries]))

    def can_record(self) -> bool:
        return self.room

    async def durable(self) -> None:
        self.on_durable()

    @property
    def only(self) -> Entry:
        """The one entry; fails unless there is exactly one."""
        (entry,) = self.recorded
        return entry


@dataclass
class FakeStore:
    """Cache entries in a dictionary; can be away, and lets others run before it answers."""

    entries: dict[bytes, StoredAnswer] = field(default_factory=dict)
    away: bool = False
    hits: list[bytes] = field(default_factory=list)

    async def find(self, key: bytes, timeout_ms: float) -> StoredAnswer | None:
        stored = await self.peek(key, timeout_ms)
        self.hits += [key] if stored is not None else []
        return stored

    async def peek(self, key: bytes, timeout_ms: float) -> StoredAnswer | None:
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("store: away")
        return self.entries.get(key)

    def put(self, stored: StoredAnswer, max_bytes: int) -> None:
        self.entries[stored.key] = stored


@dataclass
class FakeKeys:
    """Lets everybody in as one identity, or nobody."""

    identity: Identity = field(default_factory=lambda: Identity("tenant", "key-1"))
    refusal: GatewayError | None = None

    def identify(self, headers: Mapping[bytes, bytes]) -> Identity:
        if self.refusal is not None:
            raise self.refusal
        return self.identity

    def find(self, key_id: str | None) -> Identity:
        return self.identify({})


@dataclass
class FakeMetrics:
    """Remembers what was observed."""

    observed: list[str] = field(default_factory=list)

    def observe(self, entry: Entry) -> None:
        self.observed.append(entry.id)

    def expose(self) -> tuple[bytes, str]:
        return b"calls_total 1\n", "text/plain"


@dataclass
class Ending:
    """How one call went through the pipeline."""

    entry: Entry
    chunks: list[Chunk] = field(default_factory=list)
    error: GatewayError | None = None

    @property
    def text(self) -> str:
        """The words that were shown."""
        choices = [choice for chunk in self.chunks if chunk.shown for choice in chunk.event["choices"]]
        return "".join((each.get("delta") or each.get("message") or {}).get("content") or "" for each in choices)


@dataclass
class Scene:
    """A gateway of real stages between a fake client and a fake ledger."""

    client: FakeClient
    gateway: Gateway
    ledger: FakeLedger
    store: FakeStore
    keys: FakeKeys
    metrics: FakeMetrics

    def use(self, document: Settings) -> None:
        """Put other settings in force."""
        current = self.gateway.settings.current
        self.gateway.settings.current = Snapshot(current.version + 1, document)


async def run(scene: Scene, request: Arrival | None = None, **body: Any) -> Ending:
    """One call from the first line of the pipeline to the last."""
    request = request or arrival(**body)
    ending = Ending(scene.gateway.open_entry(request.endpoint))
    try:
        async for chunk in answer(request, ending.entry, scene.gateway):
            ending.chunks.append(chunk)
    except GatewayError as error:
        ending.error = error
    scene.gateway.open_calls -= 1
    return ending


def scene(*scripts: Script, document: Settings | None = None) -> Scene:
    """A gateway whose provider plays these scripts."""
    client, ledger, store, keys, metrics = FakeClient(*scripts), FakeLedger(), FakeStore(), FakeKeys(), FakeMetrics()
    bill = Bill(lambda: PriceBook([]))
    upstream = Dispatch(lambda _: cast("Client", client), ledger, bill)
    live: Any = SimpleNamespace(current=Snapshot(1, document or settings()), problem=None)
    parts: dict[str, Any] = {"settings": live, "keys": keys, "ledger": ledger, "metrics": metrics}
    routing = Router(upstream.health.resting)
    gateway = Gateway(**parts, cache=Cache(ExactCache(store)), routing=routing, upstream=upstream, bill=bill)
    return Scene(client, gateway, ledger, store, keys, metrics)
