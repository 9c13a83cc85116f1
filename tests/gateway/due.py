"""A fake of the store as prefetch sees it: entries that are due, claims, the day's money."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from backend.cache.exact import StoreUnavailable, key_of
from backend.cache.prefetch import Due
from tests.fakes import call

COST_NUSD = 2850
"""Of the whole answer that the fake client gives."""


@dataclass
class FakeRefreshes:
    """Entries that are due, claimed once; the day's money; what was asked of it."""

    due: list[Due] = field(default_factory=list)
    requests: dict[bytes, bytes] = field(default_factory=dict)
    claimed: set[tuple[bytes, int]] = field(default_factory=set)
    spent_nusd: int = 0
    most_nusd: int = 0
    asked: int = 0
    reserved: int = 0
    """How often money was asked for."""
    away: bool = False

    def add(self, number: int, **changes: Any) -> Due:
        """A question that one tenant asked often."""
        body = call(messages=[{"role": "user", "content": f"question {number}"}]).body
        now_ms = time.time_ns() // 1_000_000
        due = Due(
            key=key_of(call(**body), "tenant"),
            tenant="tenant",
            model="m",
            stored_at=now_ms - 3_500_000,
            expires_at=now_ms + 100_000,
            cost_nusd=COST_NUSD,
            endpoint="chat.completions",
            namespace="",
            latency_ms=1000.0,
            hits=20,
        )
        due = replace(due, **changes)
        self.due.append(due)
        self.requests[due.key] = orjson.dumps(body)
        return due

    async def list_due(self, now_ms: int, before_ms: int) -> list[Due]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("away")
        return [each for each in self.due if each.expires_at <= before_ms]

    async def claim(self, due: Due, now_ms: int) -> bytes | None:
        await asyncio.sleep(0)
        mark = (due.key, due.stored_at)
        if mark in self.claimed:
            return None
        self.claimed.add(mark)
        return self.requests[due.key]

    async def reserve(self, day: int, amount_nusd: int, limit_nusd: int) -> bool:
        self.reserved += 1
        await asyncio.sleep(0)
        if self.spent_nusd + amount_nusd > limit_nusd:
            return False
        self.spent_nusd += amount_nusd
        self.most_nusd = max(self.most_nusd, self.spent_nusd)
        return True

    async def settle(self, day: int, difference_nusd: int) -> None:
        self.spent_nusd += difference_nusd

    async def close(self) -> None:
        self.away = True
