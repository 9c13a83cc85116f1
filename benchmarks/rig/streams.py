"""Many streams at once: when the first event of each arrived, and how many stay open."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from benchmarks.rig import wire
from benchmarks.rig.load import Job
from benchmarks.rig.upstream import STAMP

_DONE = b"data: [DONE]"


class Stream(asyncio.Protocol):
    """One connection that asks for one stream after the other until the time is over."""

    def __init__(self, job: Job, tally: Tally) -> None:
        self._job = job
        self._tally = tally
        self._asked_at = 0.0
        self._seen = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first stream."""
        self.transport = transport  # type: ignore[assignment]
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Take the time of the first event; at the end ask again."""
        now = time.perf_counter()
        if self._asked_at:
            self._seen += data
            self._note_first(now)
        elif _DONE in data:
            self._tally.finished += 1
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Count what broke off before the time was over."""
        if time.perf_counter() < self._tally.ends_at:
            self._tally.broken += 1

    def _ask(self) -> None:
        if self.transport is None or time.perf_counter() >= self._tally.ends_at:
            return
        job = self._job
        number = f"{job.prefix}{self._tally.next_number()}"
        fields = {"stream": True, "max_tokens": job.chunks, "seed": job.gap_ms}
        content = wire.body(job.model, number, **fields)
        self._seen = b""
        self._asked_at = time.perf_counter()
        self.transport.write(wire.request(job.port, content))

    def _note_first(self, now: float) -> None:
        found = STAMP.search(self._seen)
        if found is None:
            return
        arrived, sent = int(found[1]) / 1e9, int(found[2]) / 1e9
        self._tally.overheads_ms.append(((now - self._asked_at) - (sent - arrived)) * 1000.0)
        self._asked_at = 0.0


class Tally:
    """What all connections counted together."""

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.overheads_ms: list[float] = []
        self.finished = 0
        self.broken = 0
        self._number = 0

    def next_number(self) -> int:
        """A number no other stream has."""
        self._number += 1
        return self._number


async def run_streams(job: Job) -> dict[str, Any]:
    """Open the streams spread over one stream's life, keep them coming; says when all are open."""
    loop = asyncio.get_running_loop()
    spread_s = min(job.chunks * job.gap_ms / 1000.0, job.seconds / 3)
    tally = Tally(time.perf_counter() + job.seconds)
    opened = []
    for _ in range(job.connections):
        _, stream = await loop.create_connection(lambda: Stream(job, tally), wire.HOST, job.port)
        opened.append(stream)
        await asyncio.sleep(spread_s / job.connections)
    sys.stderr.write("open\n")
    sys.stderr.flush()
    await asyncio.sleep(max(0.0, tally.ends_at - time.perf_counter()))
    for stream in opened:
        if stream.transport is not None:
            stream.transport.abort()
    return {"first_ms": tally.overheads_ms, "finished": tally.finished, "broken": tally.broken}
