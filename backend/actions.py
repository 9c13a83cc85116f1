"""Everything a person can do from a page or the command line: each act takes an actor and a reason, and is audited."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import orjson

from backend.auth.keys import SCOPES, KeyDraft, KeyLine, NewKey, create_key, list_keys, revoke_key
from backend.batch.jobs import cancel_job
from backend.call import new_id
from backend.engine.measure_wishes import (
    apply_sweep,
    cancel_sweep,
    plan_like_traffic,
    price_engine,
    queue_sweep,
    record_adjustment,
)
from backend.engine.wishes import (
    add_engine,
    apply_engine,
    change_engine,
    remove_engine,
    restart_engine,
    start_engine,
    stop_engine,
)
from backend.errors import BadRequest, Conflict, GatewayError, InvalidSettings, NotFound, StaleSettings
from backend.pricing.overrides import rates_from_dollars
from backend.pricing.prices import row_of
from backend.settings.signature import Signature
from backend.settings.store import Change, Version
from backend.settings.store import apply_partial as apply_settings
from backend.settings.store import rollback as rollback_settings
from backend.settings.store import save as save_settings
from db.audit import AuditRow, insert_act, list_acts
from db.cache_labels import Label, read_labels_of, write_review
from db.cache_reads import find_partition, find_verifier
from db.call_reads import read_call
from db.engine import Connection, Engine, reading, writing
from db.prices import PriceRow, add_price
from db.revisions import bump
from db.settings import list_lines

__all__ = [
    "SCOPES",
    "Act",
    "Change",
    "GatewayError",
    "InvalidSettings",
    "KeyDraft",
    "KeyLine",
    "NewKey",
    "PriceStatement",
    "Review",
    "Signature",
    "StaleSettings",
    "Version",
    "add_engine",
    "apply_engine",
    "apply_settings",
    "apply_sweep",
    "cancel_job",
    "cancel_sweep",
    "change_engine",
    "create_key",
    "list_changes",
    "list_keys",
    "plan_like_traffic",
    "price_engine",
    "queue_sweep",
    "record_adjustment",
    "remove_engine",
    "restart_engine",
    "review_hit",
    "revoke_key",
    "rollback_settings",
    "save_settings",
    "set_price",
    "start_engine",
    "stop_engine",
]


@dataclass(frozen=True, slots=True)
class PriceStatement:
    """What a model costs from a moment on: dollars per million tokens by bucket (input, output, cache_read …).

    ``dollars`` None withdraws an earlier statement; ``effective_from`` is epoch milliseconds, None for now.
    """

    model: str
    dollars: Mapping[str, Decimal | int | str | None] | None
    provider: str | None = None
    effective_from: int | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """A person's verdict on one call: whether the cached answer was as good as a fresh one."""

    call_id: str
    same: bool
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """One line of the whole history: a settings version or another audited act; ``at`` is epoch milliseconds."""

    at: int
    actor: str
    action: str
    subject: str
    reason: str
    changes: Any
    version: int | None = None


def set_price(engine: Engine, statement: PriceStatement, by: Signature) -> str:
    """State a price that wins over the list price; its id. Calls already made keep theirs.

    Raises ``BadRequest`` on rates that make no sense, ``Conflict`` when this very price was stated before.
    """
    now_ms = time.time_ns() // 1_000_000
    row = replace(_price_row(statement, now_ms), actor=by.actor, reason=by.reason, created_at=now_ms)
    subject = f"{row.provider}/{row.model}" if row.provider else row.model
    changes = orjson.dumps({"price_id": row.id, "effective_from": row.effective_from, "rates": orjson.loads(row.rates)})
    with writing(engine) as connection:
        if not add_price(connection, row):
            raise Conflict(f"This price of {subject} was stated before.")
        insert_act(connection, AuditRow(new_id(), now_ms, by.actor, "price.set", subject, by.reason, changes.decode()))
        bump(connection, "prices")
    return row.id


def review_hit(engine: Engine, review: Review, by: Signature) -> None:
    """Keep a person's verdict on a semantic hit, or on one that could have been; it stands above every machine's.

    Raises ``NotFound`` without such a call, ``BadRequest`` where it was never compared with another.
    """
    now_ms = time.time_ns() // 1_000_000
    changes = orjson.dumps({"same": review.same, "note": review.note}).decode()
    with writing(engine) as connection:
        label = replace(_label_of(connection, review.call_id), same=review.same, note=review.note)
        write_review(connection, replace(label, actor=by.actor, at=now_ms), now_ms=now_ms)
        act = AuditRow(new_id(), now_ms, by.actor, "cache.review", review.call_id, by.reason, changes)
        insert_act(connection, act)


def _label_of(connection: Connection, call_id: str) -> Label:
    """What is known of the comparison: the machine's label, else the call itself, picked by hand (propensity 0)."""
    known = read_labels_of(connection, call_id)
    if known:
        return known[-1]
    call = read_call(connection, call_id)
    if call is None:
        raise NotFound(f"There is no call {call_id}.")
    if call["cache_probability"] is None:
        raise BadRequest("This call was not compared with an earlier one.", param="call_id")
    return Label(
        id=call_id,
        at=call["started_at"],
        tenant=call["tenant"] or "",
        partition=find_partition(connection, call["source_call_id"]) or "",
        similarity=call["similarity"] or 0.0,
        probability=call["cache_probability"],
        same=True,
        source="human",
        propensity=0.0,
        source_call_id=call["source_call_id"],
        model=call["model"],
        verifier=find_verifier(connection) or _default_verifier(),
    )


def _default_verifier() -> str:
    from backend.cache.semantic.verifier import Verifier  # noqa: PLC0415 - its libraries are heavy, reviews are rare

    return Verifier.default().name


def list_changes(engine: Engine, *, limit: int = 100, before: int | None = None) -> list[Act]:
    """Settings versions and all other acts as one history, newest first, those before a time (epoch ms) only."""
    with reading(engine) as connection:
        acts = list_acts(connection, limit=limit, before=before)
        lines = list_lines(connection, limit=limit, before_at=before)
    merged = [
        Act(act.at, act.actor, act.action, act.subject, act.reason, orjson.loads(act.changes or "null")) for act in acts
    ] + [
        Act(
            line.created_at,
            line.actor,
            "settings.save",
            f"settings version {line.version}",
            line.reason,
            orjson.loads(line.changes),
            line.version,
        )
        for line in lines
    ]
    return sorted(merged, key=lambda act: (act.at, act.version or 0), reverse=True)[:limit]


def _price_row(statement: PriceStatement, now_ms: int) -> PriceRow:
    model, provider = statement.model.strip(), (statement.provider or "").strip() or None
    if not model:
        raise BadRequest("A price needs a model.", param="model")
    start = now_ms if statement.effective_from is None else statement.effective_from
    try:
        rates = None if statement.dollars is None else rates_from_dollars(statement.dollars)
        return row_of(model, provider, rates, start)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise BadRequest(f"The price makes no sense: {error}", param="dollars") from None
