"""Governor's cache over a stream of questions, in process: the exact and the semantic layer as a worker has them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.cache.exact import ExactCache
from backend.cache.layers import Cache
from backend.cache.semantic.built_in import SharedBuiltIn
from backend.cache.semantic.cache import SemanticCache
from backend.cache.semantic.embedded_index import EmbeddedIndex
from backend.cache.semantic.feed import News
from backend.cache.semantic.judge import Judge
from backend.cache.semantic.parts import Loader, Makers, Parts, load_parts
from backend.cache.semantic.verification import Verification
from backend.cache.sqlite_store import SQLiteStore
from backend.call import CacheResult, Call, Entry
from backend.settings.knobs import CacheSettings
from benchmarks.rig.known_stream import LAG
from db.cache_labels import Label
from db.cache_verifiers import VerifierRow

TENANT, MODEL = "tenant", "gpt-4o-mini"
_PATIENCE_S = 3.0

Served = tuple[str | None, float]
"""The answer served, or none, and the milliseconds of the look-up."""


@dataclass(slots=True)
class Played:
    """A stream that was answered."""

    served: list[Served] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    labels: list[tuple[int, Label]] = field(default_factory=list)
    """The place in the stream of each label's question, and the label."""
    sources: dict[str, str] = field(default_factory=dict)
    """The answer to each call that went upstream, by its id."""
    began_at: int | None = None
    """At which question the evidence sufficed to serve hits."""
    decision: str = ""


class NoRecords:
    """A database without labels and refits: a stream begins knowing nothing, and its verifier stays as shipped."""

    def read_labels(self, since_ms: int) -> list[Label]:
        """None."""
        del since_ms
        return []

    def read_verifiers(self, space: str) -> list[VerifierRow]:
        """None."""
        del space
        return []

    def add_verifier(self, row: VerifierRow) -> None:
        """Never wanted."""
        raise RuntimeError(row.name)


@dataclass(slots=True, frozen=True)
class Stage:
    """Where a stream is played: a folder, the built-in embedder, settings, and a judge where they name one."""

    folder: Path
    model: Path
    settings: CacheSettings
    judge: Judge | None = None


async def play(asked: Sequence[tuple[str, str]], stage: Stage) -> Played:
    """Ask every question, an upstream giving its answer where the cache does not."""
    folder, model, settings = stage.folder, stage.model, stage.settings
    played, place = Played(), 0
    exact = ExactCache(SQLiteStore(folder / "cache.db"))
    built_in = SharedBuiltIn(model, lambda: settings.batch_size, lambda: settings.batch_wait_ms)
    makers = Makers(lambda: settings, _ask_nobody, NoRecords(), built_in, folder / "semantic.db", None)
    loader = Loader(lambda name: load_parts(name, makers))

    def learn(label: Label) -> None:
        played.labels.append((place, label))
        if loader.loaded is not None:
            loader.loaded.feed.add(News([label], []))

    semantic = SemanticCache(loader, exact, verification := Verification(exact, learn, stage.judge))
    parts = await semantic.load(settings, 120.0)
    if parts is None:
        raise RuntimeError(semantic.state)
    cache = Cache(exact, semantic)
    for place, (question, answer) in enumerate(asked):
        await _ask(cache, (question, answer), settings, played)
        await verification.close()
        decision = parts.feed.calibration.decide("", settings)
        if played.began_at is None and decision.state == "serving":
            played.began_at = place
        if place % LAG == LAG - 1:
            await _settle(parts, len(played.sources))
    played.decision = parts.feed.calibration.decide("", settings).reason
    await semantic.close()
    await built_in.close()
    return played


async def _ask_nobody(name: str, texts: list[str]) -> dict[str, Any]:
    raise RuntimeError(f"no deployment {name} embeds {len(texts)} texts here")


async def _ask(cache: Cache, asked: tuple[str, str], settings: CacheSettings, played: Played) -> None:
    question, answer = asked
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "temperature": 0}
    call = Call("chat.completions", body, MODEL, stream=False, wants_usage=False)
    began = time.perf_counter()
    found = await cache.look_up(call, TENANT, settings)
    spent_ms = (time.perf_counter() - began) * 1000.0
    played.kinds.append(found.kind)
    played.served.append((_text_of(found), spent_ms))
    if found.answer is None:
        entry = Entry("benchmark", "chat.completions", tenant=TENANT, model=MODEL, cache_kind="miss")
        message = {"role": "assistant", "content": answer}
        played.sources[entry.id] = answer
        entry.answer = {"model": MODEL, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        cache.store(call, found, entry, settings)


def _text_of(found: CacheResult) -> str | None:
    return None if found.answer is None else str(found.answer["choices"][0]["message"]["content"])


async def _settle(parts: Parts, kept: int) -> None:
    """Until what was kept is found: entries are written behind the answer, then read by who searches."""
    index, deadline = parts.index, time.monotonic() + _PATIENCE_S
    while isinstance(index, EmbeddedIndex) and len(index) < kept and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
