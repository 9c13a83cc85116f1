"""Coalescing: identical calls in flight within a tenant share one upstream call.

The first caller leads and pays; the others follow its chunks. A leader whose client leaves keeps going while it has
followers. A leader that fails fails its followers with the same error: no stampede of retries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backend.answer import Whole
from backend.call import Chunk
from backend.errors import GatewayError, UpstreamInterrupted

if TYPE_CHECKING:
    from backend.call import Chunks, Entry


_JOINABLE_BYTES = 32 * 1024
"""A long answer nobody follows is not kept for latecomers."""


@dataclass(slots=True)
class Flight:
    """One upstream call and whoever waits for it."""

    leader: Entry
    chunks: list[Chunk] = field(default_factory=list)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)
    followers: int = 0
    size: int = 0
    error: GatewayError | None = None
    landed: bool = False

    def wake(self) -> None:
        """Let every follower look again."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()

    async def follow(self, entry: Entry) -> AsyncGenerator[Chunk]:
        """The leader's chunks, those already there first; raises the leader's error.

        Each follower gets copies: whether a chunk is shown is decided for every caller anew.
        """
        self.followers += 1
        seen = 0
        try:
            while await self._has(seen):
                if not seen:
                    self._tell(entry)
                known = self.chunks[seen]
                seen += 1
                yield Chunk(known.data, known.event)
            if self.error is not None:
                raise self.error
        finally:
            self._tell(entry)
            self.followers -= 1

    async def _has(self, seen: int) -> bool:
        """Whether there is a chunk after the first ``seen``; waits until there is, or until the flight has landed."""
        while seen >= len(self.chunks) and not self.landed:
            waiter = asyncio.get_running_loop().create_future()
            self.waiters.append(waiter)
            await waiter
        return seen < len(self.chunks)

    def _tell(self, entry: Entry) -> None:
        """Who really answers is known only once there is an answer: the leader may have fallen back."""
        leader = self.leader
        entry.deployment, entry.provider, entry.price = leader.deployment, leader.provider, leader.price
        entry.served_model = leader.served_model


class Flights:
    """The flights in the air, by share key (tenant, request and stream mode)."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    def find(self, key: bytes | None) -> Flight | None:
        """The flight to join, if there is one."""
        return self._flights.get(key) if key is not None else None

    def lead(self, key: bytes, entry: Entry, chunks: Chunks) -> Chunks:
        """Pass the chunks on while others may follow them."""
        whole = isinstance(chunks, Whole)
        return Whole(self._lead_whole(key, entry, chunks)) if whole else self._lead(key, entry, chunks)

    async def _lead(self, key: bytes, entry: Entry, chunks: Chunks) -> AsyncGenerator[Chunk]:
        flight = self._take_off(key, entry)
        try:
            async with aclosing(chunks) as source:
                async for chunk in source:
                    self._share(key, flight, chunk)
                    yield chunk
            flight.error = None
        except GatewayError as error:
            flight.error = error
            raise
        finally:
            self._land(key, flight)

    async def _lead_whole(self, key: bytes, entry: Entry, chunks: Chunks) -> Chunk | None:
        flight = self._take_off(key, entry)
        try:
            chunk = await anext(chunks, None)
            if chunk is not None:
                self._share(key, flight, chunk)
            flight.error = None
            return chunk
        except GatewayError as error:
            flight.error = error
            raise
        finally:
            self._land(key, flight)

    def _take_off(self, key: bytes, entry: Entry) -> Flight:
        flight = self._flights[key] = entry.flight = Flight(entry)
        flight.error = UpstreamInterrupted("The call this one was waiting for was cancelled.")
        return flight

    def _land(self, key: bytes, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.landed = True
        flight.wake()
        flight.leader.flight = None  # they know each other: a cycle that only the garbage collector would end

    def _share(self, key: bytes, flight: Flight, chunk: Chunk) -> None:
        if flight.size > _JOINABLE_BYTES and not flight.followers:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.chunks.clear()
            return
        flight.size += len(chunk.data)
        flight.chunks.append(Chunk(chunk.data, chunk.event))
        flight.wake()
