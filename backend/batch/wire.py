"""Small pieces of OpenAI's wire that files and batches share: ids, seconds, lists, query strings."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from backend.errors import BadRequest, NotFound
from db.files import Page

DAY_MS = 86_400_000
SHORTEST_S, LONGEST_S = 3600, 2_592_000
"""Bounds of ``expires_after.seconds``."""


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


def make_id(prefix: str) -> str:
    """An id that sorts by time."""
    return f"{prefix}{now_ms():012x}{uuid.uuid4().hex[:20]}"


def seconds(at_ms: int | None) -> int | None:
    """Epoch seconds, as OpenAI has them."""
    return None if at_ms is None else at_ms // 1000


def read_query(query: bytes) -> dict[str, str]:
    """The last value of every parameter."""
    return {name: values[-1] for name, values in parse_qs(query.decode("latin-1")).items()}


def read_page(query: Mapping[str, str], default: int, most: int) -> Page:
    """Which page was asked for, with one row more to see whether others follow; raises ``BadRequest``."""
    limit, order = query.get("limit", str(default)), query.get("order", "desc")
    if not limit.isdecimal() or not 1 <= int(limit[:9]) <= most:
        raise BadRequest(f"limit must be a whole number between 1 and {most}.", param="limit")
    if order not in ("asc", "desc"):
        raise BadRequest("order must be asc or desc.", param="order")
    return Page(int(limit) + 1, query.get("after"), order == "asc")


def show_list(rows: Sequence[dict[str, Any]], page: Page) -> dict[str, Any]:
    """Rows as a list object."""
    data = list(rows[: page.limit - 1])
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    more = len(rows) >= page.limit
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more}


def read_lifetime(anchor: object, lives_s: object) -> int | None:
    """Seconds a file is to live as ``expires_after`` says; None when it says nothing. Raises ``BadRequest``."""
    if anchor is None and lives_s is None:
        return None
    if anchor != "created_at":
        raise BadRequest("expires_after.anchor must be created_at.", param="expires_after")
    if isinstance(lives_s, bool) or not isinstance(lives_s, int) or not SHORTEST_S <= lives_s <= LONGEST_S:
        text = f"expires_after.seconds must be a whole number between {SHORTEST_S} and {LONGEST_S}."
        raise BadRequest(text, param="expires_after")
    return lives_s


def no_such(noun: str, object_id: str) -> NotFound:
    """The answer to an id that is not there, or belongs to somebody else."""
    return NotFound(f"No such {noun} object: {object_id[:80]}", param="id")
