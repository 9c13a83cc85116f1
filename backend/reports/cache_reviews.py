"""Semantic hits for a person to judge: what was asked, what had been asked, and what the machine made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from db.bounded import RowMapping
from db.cache_labels import read_hits
from db.cache_reads import read_bodies, read_verified

Queue = Literal["served", "verified"]
MOST_TEXT = 2_000
"""Characters of a text that are shown."""


@dataclass(frozen=True, slots=True)
class Text:
    """A question and its answer, as far as their bodies were captured."""

    question: str | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions that were held to be the same, or nearly; verdicts are none where nobody judged."""

    call_id: str
    at: int
    model: str | None
    tenant: str | None
    similarity: float | None
    probability: float | None
    source_call_id: str | None
    saved_nusd: int | None
    asked: Text
    cached: Text
    machine_same: bool | None
    machine_source: str | None
    human_same: bool | None
    reviewer: str | None


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """Pairs, newest first; ``next`` (epoch ms) continues after them."""

    pairs: tuple[Pair, ...]
    next: int | None


def read_reviews(
    ledger: Ledger, scope: Scope, queue: Queue, before: int | None = None, *, unreviewed: bool = True
) -> ReviewPage:
    """Ten hits that were served, or ten would-be hits whose fresh answer was compared; of the range, whoever asked."""
    limit, read = 10, read_hits if queue == "served" else read_verified
    with ledger.read() as connection:
        rows = read(connection, limit=limit + 1, before=before or scope.end_at, unreviewed=unreviewed)
        rows = [row for row in rows if row["started_at"] >= scope.start_at]
        shown = rows[:limit]
        ids = {each for row in shown for each in (row["id"], row["source_call_id"]) if each}
        bodies = {key: _read_text(row) for key, row in read_bodies(connection, ids).items()} if ids else {}
    pairs = tuple(_pair(row, bodies) for row in shown)
    return ReviewPage(pairs, shown[-1]["started_at"] if len(rows) > limit else None)


def _pair(row: RowMapping, bodies: dict[str, Text]) -> Pair:
    return Pair(
        call_id=row["id"],
        at=row["started_at"],
        model=row["model"],
        tenant=row["tenant"],
        similarity=row["similarity"],
        probability=row["cache_probability"],
        source_call_id=row["source_call_id"],
        saved_nusd=row.get("saved_nusd"),
        asked=bodies.get(row["id"], Text()),
        cached=bodies.get(row["source_call_id"], Text()),
        machine_same=row["machine_same"],
        machine_source=row["machine_source"],
        human_same=row["human_same"],
        reviewer=row["actor"],
    )


def _read_text(row: RowMapping) -> Text:
    request, response = _parse(row["request"]), _parse(row["response"])
    return Text(_last_turn(request.get("messages")), _first_choice(response.get("choices")))


def _parse(data: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(data or b"null")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _last_turn(messages: object) -> str | None:
    turns = [each for each in messages if isinstance(each, dict)] if isinstance(messages, Sequence) else []
    asked = [each for each in turns if each.get("role") == "user"]
    return _write(asked[-1].get("content")) if asked else None


def _first_choice(choices: object) -> str | None:
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = first.get("message")
    return _write(message.get("content")) if isinstance(message, dict) else None


def _write(content: object) -> str | None:
    """Text as text; anything else as JSON; nothing that could steer a terminal or a page."""
    if content is None:
        return None
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in text)[
        :MOST_TEXT
    ]
