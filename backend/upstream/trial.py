"""One attempt under way: its chunks as they come, and how it ended on its record and for the deployment's health."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from backend.call import Attempt, Chunk, Chunks, Entry
from backend.errors import (
    GatewayError,
    UpstreamError,
    UpstreamInterrupted,
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from backend.upstream.health import Health

if TYPE_CHECKING:
    from backend.settings.knobs import Deployment, UpstreamSettings

AMBIGUOUS = (UpstreamTimeout, UpstreamInterrupted, UpstreamInvalid)
"""Failures after which the deployment may have done, and billed, the work."""


class Trial:
    """The last of the entry's attempts, made by asking for its chunks; ``close`` must follow whatever happens."""

    __slots__ = ("_attempt", "_began", "_chunks", "_entry", "_health", "_settings", "deployment")

    def __init__(
        self, health: Health, entry: Entry, deployment: Deployment, settings: UpstreamSettings, chunks: Chunks
    ) -> None:
        self.deployment = deployment
        self._health = health
        self._entry = entry
        self._attempt = entry.tries[-1]
        self._settings = settings
        self._chunks = chunks
        self._began = time.perf_counter()
        health.begin(deployment.name)

    async def next(self) -> Chunk | None:
        """The next chunk, or None after the last; raises ``UpstreamError``. The wait for it is the deployment's."""
        waiting = time.perf_counter()
        try:
            chunk = await anext(self._chunks, None)
        except GatewayError as error:
            self._fail(error)
            raise
        finally:
            now = time.perf_counter()
            self._entry.upstream_s += now - waiting
        if chunk is None:
            self._attempt.state, self._attempt.http_status = "settled", 200
            self._health.succeeded(self.deployment.name)
        elif self._attempt.ttft_ms is None:
            _first_chunk(self._attempt, self._entry, chunk, (now - self._began) * 1000.0)
        return chunk

    async def close(self) -> None:
        """Complete the record and let the connection go."""
        self._attempt.latency_ms = (time.perf_counter() - self._began) * 1000.0
        self._health.end(self.deployment.name)
        await self._chunks.aclose()

    def _fail(self, error: GatewayError) -> None:
        attempt = self._attempt
        billed = attempt.ttft_ms is not None or isinstance(error, AMBIGUOUS)
        attempt.state = "unknown" if billed and not isinstance(error, UpstreamUnreachable) else "failed"
        attempt.error_code = error.code
        attempt.http_status = error.status if isinstance(error, UpstreamRefused) else attempt.http_status
        if isinstance(error, UpstreamError) and error.retriable and not _is_callers_fault(error, self.deployment):
            self._health.failed(self.deployment.name, self._settings)


def _is_callers_fault(error: UpstreamError, deployment: Deployment) -> bool:
    """A deployment that answers to any name cannot know all that callers think of; that is no reason to rest it."""
    return deployment.model == "*" and error.code == "upstream_404"


def _first_chunk(attempt: Attempt, entry: Entry, chunk: Chunk, ttft_ms: float) -> None:
    attempt.ttft_ms = ttft_ms
    attempt.http_status = 200
    attempt.upstream_id = str(chunk.event.get("id") or "")[:256] or None
    entry.served_model = str(chunk.event.get("model") or "")[:256] or None
