"""The exact cache: one tenant's identical requests share one paid answer.

A key cannot be built without a tenant (FAILURES F01). Only complete answers are kept: no errors, no truncated or
aborted ones, no tool calls unless switched on (F06). Callers may tighten what the settings allow, never widen it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from backend.answer import Recipe, unfold
from backend.call import CacheResult, Call, Chunk, Entry, StoredAnswer
from backend.errors import IdempotencyMismatch

if TYPE_CHECKING:
    from backend.settings.knobs import CacheSettings

NOT_ANSWER_CHANGING = frozenset(
    {"stream", "stream_options", "user", "metadata", "safety_identifier", "store", "prompt_cache_key"}
)


REPLAYED_TOKENS = 6
"""About so many tokens are in one event of a replayed stream (24 characters)."""


class Store(Protocol):
    """Where entries live; a failing store raises ``StoreUnavailable`` and the call goes on without it."""

    async def find(self, key: bytes, timeout_ms: float) -> StoredAnswer | None:
        """The live entry under a key."""
        ...

    async def peek(self, key: bytes, timeout_ms: float) -> StoredAnswer | None:
        """The same for Governor's own eyes: it counts as no hit."""
        ...

    def put(self, stored: StoredAnswer, max_bytes: int) -> None:
        """Keep an entry; returns at once, the writing happens behind the answer. The store keeps to ``max_bytes``."""
        ...


class StoreUnavailable(Exception):
    """The store did not answer; its text is short and goes to the call's notes."""


class ExactCache:
    """Look-up before the call, storing after it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def look_up(self, call: Call, tenant: str, settings: CacheSettings) -> CacheResult:
        """A hit, a miss, or the reason why the cache was bypassed; raises only ``IdempotencyMismatch``."""
        if call.idempotency_key is not None:
            return await self._look_up_repeat(call, tenant, settings)
        reason = bypass_reason(call, settings)
        if reason is not None:
            return CacheResult("bypass", reason=reason)
        key = key_of(call, tenant)
        if call.cache.get("no-cache"):
            return CacheResult("bypass", None if call.cache.get("no-store") else key, reason="the caller said no-cache")
        try:
            stored = await self._store.find(key, settings.store_timeout_ms)
        except StoreUnavailable as error:
            return CacheResult("miss", key, reason=str(error))
        if stored is None or stored.tenant != tenant or not is_fresh(stored, call, settings):
            return CacheResult("miss", key, reason="no live entry")
        return _serve(stored, settings)

    async def _look_up_repeat(self, call: Call, tenant: str, settings: CacheSettings) -> CacheResult:
        """The answer given before under this idempotency key (FAILURES B04); another request under it is refused."""
        key, fingerprint = repeat_key_of(str(call.idempotency_key), tenant), key_of(call, tenant).hex()
        try:
            stored = await self._store.find(key, settings.store_timeout_ms)
        except StoreUnavailable as error:
            return CacheResult("miss", key, reason=str(error), fingerprint=fingerprint)
        if stored is None or stored.tenant != tenant:
            return CacheResult("miss", key, reason="no live entry", fingerprint=fingerprint)
        if stored.fingerprint != fingerprint:
            raise IdempotencyMismatch("This idempotency key was used with another request.")
        return _serve(stored, settings)

    async def find(self, key: bytes, settings: CacheSettings) -> StoredAnswer | None:
        """The live entry under a key, whoever asks; raises ``StoreUnavailable``."""
        return await self._store.find(key, settings.store_timeout_ms)

    async def peek(self, key: bytes, settings: CacheSettings) -> StoredAnswer | None:
        """The same, to be compared rather than served: it counts as no hit."""
        return await self._store.peek(key, settings.store_timeout_ms)

    def store(self, call: Call, found: CacheResult, entry: Entry, settings: CacheSettings) -> StoredAnswer | None:
        """Keep a complete answer and return what was kept; nothing after a hit or when the answer was not folded.

        Of calls that shared an answer the one that paid for it keeps it: with the others it would seem to cost nothing.
        """
        if found.key is None or entry.cache_kind == "coalesced" or not may_store(call, found):
            return None
        answer = entry.answer or (entry.fold.answer() if entry.fold else None)
        repeatable = found.fingerprint is not None
        body = orjson.dumps(answer) if answer and (repeatable or is_complete(answer, settings)) else b""
        lives_ms = int((settings.ttl_s if repeatable else ttl_s(call, settings)) * 1000)
        if not body or len(body) > settings.max_entry_kb * 1024 or lives_ms < 1:
            return None
        now_ms = time.time_ns() // 1_000_000
        stored = StoredAnswer(
            key=found.key,
            tenant=str(entry.tenant),
            model=call.model,
            call_id=entry.id,
            body=body,
            stored_at=now_ms,
            expires_at=now_ms + lives_ms,
            cost_nusd=entry.cost_nusd,
            deployment=entry.deployment,
            provider=entry.provider,
            fingerprint=found.fingerprint,
            recipe=write_recipe(call, answer, entry, settings) if answer and not repeatable else None,
        )
        self._store.put(stored, settings.max_mb * 1024 * 1024)
        return stored


def may_store(call: Call, found: CacheResult) -> bool:
    """Whether the answer, once complete, may be kept."""
    kept = found.fingerprint is not None or not call.cache.get("no-store")
    return kept and found.key is not None and found.stored is None


def write_recipe(call: Call, answer: dict[str, Any], entry: Entry, settings: CacheSettings) -> Recipe | None:
    """What it takes to ask again before the answer expires; None where that is never to be done.

    Never without a known cost, for an answer that calls tools, or where the caller had a say in how long it is kept.
    """
    if not settings.prefetch_usd_per_day or entry.cost_nusd is None or {"ttl", "no-store"} & call.cache.keys():
        return None
    if any((choice.get("message") or {}).get("tool_calls") for choice in answer.get("choices") or ()):
        return None
    try:
        request = orjson.dumps({name: value for name, value in call.body.items() if name not in NOT_ANSWER_CHANGING})
    except TypeError:  # integers beyond 64 bits
        return None
    if len(request) > settings.max_entry_kb * 1024:
        return None
    return Recipe(call.endpoint, str(call.cache.get("namespace") or ""), entry.upstream_s * 1000.0, request)


def bypass_reason(call: Call, settings: CacheSettings) -> str | None:
    """Why this call may not use the cache at all, if so."""
    if not settings.exact_enabled:
        return "the exact cache is off"
    if call.deployment is not None:
        return "the caller named the deployment"
    temperature = call.body.get("temperature")
    if (1.0 if temperature is None else temperature) > settings.max_temperature and call.endpoint != "embeddings":
        return "the temperature is above the limit"
    return None


def key_of(call: Call, tenant: str) -> bytes:
    """Sixteen bytes for tenant, namespace, endpoint and everything of the request that changes the answer."""
    canonical = {name: value for name, value in call.body.items() if name not in NOT_ANSWER_CHANGING}
    scope = [tenant, str(call.cache.get("namespace") or ""), call.endpoint]
    try:
        text = orjson.dumps([scope, canonical], option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits
        text = repr([scope, sorted(canonical.items())]).encode()
    return blake2b(text, digest_size=16).digest()


def repeat_key_of(idempotency_key: str, tenant: str) -> bytes:
    """Sixteen bytes for a tenant's idempotency key."""
    return blake2b(orjson.dumps([tenant, idempotency_key]), digest_size=16, person=b"idempotency").digest()


def is_fresh(stored: StoredAnswer, call: Call, settings: CacheSettings) -> bool:
    """Whether the entry is young enough for the settings and for the caller."""
    age_s = max(time.time_ns() // 1_000_000 - stored.stored_at, 0) / 1000.0
    return age_s <= min(settings.ttl_s, float(call.cache.get("s-maxage", settings.ttl_s)))


def ttl_s(call: Call, settings: CacheSettings) -> float:
    """Seconds to keep the answer: the caller may shorten the settings' time, never lengthen it."""
    return min(float(call.cache.get("ttl", settings.ttl_s)), settings.ttl_s)


def is_complete(answer: dict[str, Any], settings: CacheSettings) -> bool:
    """Whether the answer ended by itself in every choice."""
    if "data" in answer:
        return bool(answer["data"])
    ends = {"stop", "tool_calls", "function_call"} if settings.store_tool_calls else {"stop"}
    choices = answer.get("choices") or []
    return bool(choices) and all(_is_whole(choice, ends, settings) for choice in choices)


def _is_whole(choice: dict[str, Any], ends: set[str], settings: CacheSettings) -> bool:
    message = choice.get("message") or {}
    if choice.get("finish_reason") not in ends or (message.get("tool_calls") and not settings.store_tool_calls):
        return False
    return bool(choice.get("text") or message.get("content") or message.get("tool_calls") or message.get("refusal"))


def _serve(stored: StoredAnswer, settings: CacheSettings) -> CacheResult:
    answer = read_answer(stored, settings)
    if answer is None:
        return CacheResult("miss", stored.key, reason="the entry is no whole answer", fingerprint=stored.fingerprint)
    return CacheResult("exact", stored.key, stored, fingerprint=stored.fingerprint, answer=answer)


def read_answer(stored: StoredAnswer, settings: CacheSettings) -> dict[str, Any] | None:
    """The answer in an entry; None where it is none that may be served, whoever wrote it."""
    try:
        answer = orjson.loads(stored.body)
        may_serve = stored.fingerprint is not None or is_complete(answer, settings)
        return answer if may_serve and _is_sound(answer) else None
    except (ValueError, TypeError, AttributeError):
        return None


def _is_sound(answer: dict[str, Any]) -> bool:
    choices = answer.get("choices", [])
    messages = [choice.get("message") or {} for choice in choices]
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return isinstance(choices, list) and all(isinstance(call, dict) for call in calls)


async def replay(call: Call, entry: Entry, found: CacheResult, settings: CacheSettings) -> AsyncGenerator[Chunk]:
    """The stored answer in the form this call asked for, at the pace of the settings; nothing where there is none."""
    stored, answer = found.stored, found.answer
    if stored is None or answer is None:
        return
    entry.source_call_id = stored.call_id
    if found.match is not None:
        entry.note(f"cache: {found.match.reason}; partition {found.match.partition}")
    entry.cost_nusd = 0
    entry.saved_nusd = entry.saved_cache_nusd = stored.cost_nusd
    entry.cache_age_s = max(time.time_ns() // 1_000_000 - stored.stored_at, 0) / 1000.0
    entry.deployment, entry.provider = stored.deployment, stored.provider
    entry.served_model = str(answer.get("model") or "")[:256] or None
    if not call.stream:
        yield Chunk(stored.body, answer)
        return
    pause_s = REPLAYED_TOKENS / settings.replay_tokens_per_s if settings.replay_tokens_per_s else 0.0
    for event in unfold(answer, with_usage=True):
        yield Chunk(orjson.dumps(event), event)
        if pause_s and event["choices"]:
            await asyncio.sleep(pause_s)
            entry.client_s += pause_s  # it is what the client is meant to see, not our overhead
