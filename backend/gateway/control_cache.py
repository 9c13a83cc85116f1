"""The control endpoints of the cache: how it is, what a question would meet, what is served most, purge.

A look-up runs the code of a call, but what it finds is no hit and nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import Field

from backend.auth.ring import LOCAL
from backend.cache.contents import Amount, Contents, Selection, Unseen, purge
from backend.cache.exact import ExactCache, StoreUnavailable
from backend.call import Arrival, CacheResult, Call, Identity, new_id
from backend.errors import BadRequest, CacheUnavailable, NotFound
from backend.gateway.control_request import Asked, ControlReply, ControlRequest, Document, read_document, sign
from backend.gateway.wire import read_call
from db.audit import AuditRow, insert_act
from db.cache_labels import count_labels
from db.cache_reads import sum_verified
from db.engine import Engine, reading, writing
from db.rollup_reads import Grouping, read_sums
from db.windows import DAY_MS, Window

if TYPE_CHECKING:
    from backend.cache.layers import LazySemantic
    from backend.cache.semantic.examination import Examiner
    from backend.gateway.control import Control
    from backend.settings.knobs import CacheSettings
    from backend.settings.signature import Signature

_MOST_PARTITIONS = 200
_PAID_BY = {"embedding": "embedding_nusd", "judge": "judge_nusd", "warmup": "prefetch_nusd"}
"""Origins of calls that Governor makes for its caches, and what their cost is called."""
_PARTITION = r"^[0-9a-f]{32}$"
_OFF = "semantic cache: off"


@dataclass(frozen=True, slots=True)
class CacheControl:
    """What the endpoints stand on: the entries, and one worker's semantic layer."""

    contents: Contents
    semantic: LazySemantic
    describe_store: Callable[[], dict[str, Any]]
    """What the exact layer's store says about itself: ``dropped``, and ``breaker`` where it has one."""


class _LookUpAsked(Document):
    model: str
    question: str | None = None
    messages: list[dict[str, Any]] | None = None
    parameters: dict[str, Any] = {}
    """Everything else a request says, such as ``temperature``: it is part of the key and of the partition."""
    tenant: str | None = None


class _TopAsked(Document):
    limit: int = Field(20, ge=1, le=1000)
    tenant: str | None = None
    model: str | None = None


class _PurgeAsked(Asked):
    reason: str = ""
    tenant: str | None = None
    model: str | None = None
    partition: str | None = Field(None, pattern=_PARTITION)
    call_ids: list[str] | None = None
    older_than_s: float | None = Field(None, ge=0, le=1e10)
    all: bool = False
    dry_run: bool = True


async def show_status(control: Control, _request: ControlRequest, _identity: Identity) -> ControlReply:
    """Both layers as this worker has them, and what may be served in each partition."""
    cache, settings = _cache_of(control), control.live.current.settings.cache
    amount = await _asking(asyncio.to_thread(cache.contents.count))
    partitions = await asyncio.to_thread(_read_partitions, control.engine)
    money = await asyncio.to_thread(_read_money, control.engine)
    exact = {"enabled": settings.exact_enabled, "store": cache.contents.place, "entries": amount.exact}
    examiner = _examiner_of(cache, settings)
    known: dict[str, Any] = {"state": _OFF if not settings.semantic_enabled else "semantic cache: not asked yet"}
    if examiner is not None and settings.semantic_enabled:
        known = examiner.describe(partitions)
    fixed = {"enabled": settings.semantic_enabled, "embedder": settings.embedder, "entries": amount.semantic}
    nothing: dict[str, Any] = {"mode": None, "loaded": False, "damaged": None, "dropped": None, "decision": None}
    nothing |= {"verifier": None, "comparisons": None}
    semantic = fixed | nothing | {"partitions": partitions} | known
    return ControlReply(200, {"exact": exact | cache.describe_store(), "semantic": semantic, "money": money})


async def look_up(control: Control, request: ControlRequest, _identity: Identity) -> ControlReply:
    """What this question would meet in either layer, and why; raises ``BadRequest``."""
    asked = read_document(request.body, _LookUpAsked)
    cache, settings = _cache_of(control), control.live.current.settings
    call = read_call(Arrival("chat.completions", {}, orjson.dumps(_write_body(asked))), settings.gateway)
    tenant = asked.tenant or _only_tenant(control)
    exact = ExactCache(Unseen(cache.contents))
    found = await exact.look_up(call, tenant, settings.cache)
    reply = {"tenant": tenant, "exact": _show_hit(found), "exact_reason": found.reason}
    met = await _look_up_semantic(cache, (call, tenant), exact, settings.cache)
    return ControlReply(200, reply | {"partition": None, "decision": None, "nearest": [], "reason": None} | met)


async def list_top(control: Control, request: ControlRequest, _identity: Identity) -> ControlReply:
    """The entries of the exact layer that were served most often."""
    asked, cache = read_document(request.body, _TopAsked), _cache_of(control)
    selection = Selection(asked.tenant, asked.model)
    entries = await _asking(asyncio.to_thread(cache.contents.list_top, selection, asked.limit))
    return ControlReply(200, {"entries": [asdict(each) for each in entries]})


async def purge_entries(control: Control, request: ControlRequest, identity: Identity) -> ControlReply:
    """Delete entries of both layers for every worker, or count them; raises ``BadRequest``.

    The act is in the audit log before anything is deleted: what cannot be audited is not done.
    """
    asked, cache = read_document(request.body, _PurgeAsked), _cache_of(control)
    selection = _select(asked)
    by = None if asked.dry_run else sign(asked, identity)
    amount = await _asking(asyncio.to_thread(cache.contents.purge, selection, dry_run=True))
    if by is not None:
        await asyncio.to_thread(_record, control.engine, asked, amount, by)
        amount = await _asking(purge(cache.contents, selection))
    return ControlReply(200, asdict(amount) | {"dry_run": asked.dry_run})


ROUTES: tuple[tuple[str, re.Pattern[str], str, Callable[..., Awaitable[ControlReply]]], ...] = (
    ("GET", re.compile(r"/control/cache"), "read", show_status),
    ("POST", re.compile(r"/control/cache/lookup"), "admin", look_up),
    ("POST", re.compile(r"/control/cache/top"), "admin", list_top),
    ("POST", re.compile(r"/control/cache/purge"), "admin", purge_entries),
)
"""Every route with the scope it needs."""


def _cache_of(control: Control) -> CacheControl:
    if control.cache is None:
        raise NotFound("This gateway has no cache.")
    return control.cache


async def _asking(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except StoreUnavailable as error:
        raise CacheUnavailable(f"The cache does not answer ({error}).") from None


def _examiner_of(cache: CacheControl, settings: CacheSettings) -> Examiner | None:
    """The semantic layer as people see it, where it is in use; only then are its libraries loaded."""
    if cache.semantic.made is None:
        return None
    from backend.cache.semantic.cache import SemanticCache  # noqa: PLC0415 - as said
    from backend.cache.semantic.examination import Examiner  # noqa: PLC0415

    made = cache.semantic.made
    return Examiner(made, settings) if isinstance(made, SemanticCache) else None


async def _look_up_semantic(
    cache: CacheControl, asked: tuple[Call, str], exact: ExactCache, settings: CacheSettings
) -> dict[str, Any]:
    if not settings.semantic_enabled:
        return {"reason": _OFF}
    await cache.semantic.make()
    examiner = _examiner_of(cache, settings)
    return await examiner.look_up(*asked, exact) if examiner else {"reason": "semantic cache: not installed"}


def _read_partitions(engine: Engine) -> list[dict[str, Any]]:
    """The partitions with the most labels."""
    with reading(engine) as connection:
        rows = count_labels(connection)[:_MOST_PARTITIONS]
    return [{str(name): value for name, value in row.items()} for row in rows]  # the database's names are no plain text


def _read_money(engine: Engine) -> dict[str, int]:
    """What all layers saved in the last day and what they cost themselves, in nano-dollars."""
    now_ms = time.time_ns() // 1_000_000
    window = Window(now_ms - DAY_MS, now_ms + 1)
    by = Grouping(("origin",), None, ("cost_nusd", "saved_cache_nusd"))
    with reading(engine) as connection:
        rows = {row.values[0]: row.measures for row in read_sums(connection, window, by)}
        verified, fresh_nusd = sum_verified(connection, window)
    paid = {name: rows.get(origin, {}).get("cost_nusd", 0) for origin, name in _PAID_BY.items()}
    saved_nusd = sum(each["saved_cache_nusd"] for each in rows.values())
    net_nusd = saved_nusd - fresh_nusd - sum(paid.values())
    said = {"since_at": window.start_at, "saved_nusd": saved_nusd, "verified": verified, "fresh_nusd": fresh_nusd}
    return said | paid | {"net_nusd": net_nusd}


def _write_body(asked: _LookUpAsked) -> dict[str, Any]:
    if (asked.question is None) == (asked.messages is None):
        raise BadRequest("Say either question or messages.", param="question")
    question = [{"role": "user", "content": asked.question}]
    messages = question if asked.messages is None else asked.messages
    return {**asked.parameters, "model": asked.model, "messages": messages}


def _only_tenant(control: Control) -> str:
    """Whose entries are meant when nobody is named: everybody's, while there are no keys."""
    if control.keys.ring.is_open:
        return LOCAL.tenant
    raise BadRequest("Say which tenant asks: its entries are its own.", param="tenant")


def _show_hit(found: CacheResult) -> dict[str, Any] | None:
    if found.kind != "exact" or found.stored is None:
        return None
    names = ("call_id", "model", "stored_at", "expires_at", "cost_nusd", "deployment", "provider")
    return {name: getattr(found.stored, name) for name in names}


def _select(asked: _PurgeAsked) -> Selection:
    chosen = asked.model_dump(include={"tenant", "model", "partition", "call_ids", "older_than_s"}, exclude_none=True)
    if asked.all == bool(chosen):
        raise BadRequest("Say which entries by tenant, model, partition, call_ids or older_than_s, or all: true.")
    return Selection(
        tenant=asked.tenant,
        model=asked.model,
        partition=None if asked.partition is None else bytes.fromhex(asked.partition),
        call_ids=None if asked.call_ids is None else frozenset(asked.call_ids),
        stored_before=None if asked.older_than_s is None else round(time.time() * 1000 - asked.older_than_s * 1000),
    )


def _record(engine: Engine, asked: _PurgeAsked, amount: Amount, by: Signature) -> None:
    selected = asked.model_dump(exclude={"reason", "actor", "dry_run"}, exclude_defaults=True)
    subject = ", ".join(f"{name} {_shorten(value)}" for name, value in selected.items())
    changes = orjson.dumps({"selected": selected, **asdict(amount)}).decode()
    now_ms = time.time_ns() // 1_000_000
    with writing(engine) as connection:
        insert_act(connection, AuditRow(new_id(), now_ms, by.actor, "cache.purge", subject, by.reason, changes))


def _shorten(value: Any) -> str:
    return f"({len(value)})" if isinstance(value, list) else str(value)
