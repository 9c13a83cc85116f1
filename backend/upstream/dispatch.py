"""The one place where calls go out: attempts, retries, fallback before the first chunk, cooldown.

What may be tried again (FAILURES B01, A14): a failure before the deployment accepted the call, anywhere; a failure
after it, only at another deployment, because the first may still bill; nothing once a chunk was shown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING, Protocol

from backend.call import Attempt, Call, Chunk, Entry, Route
from backend.errors import (
    GatewayError,
    RateLimited,
    UpstreamError,
    UpstreamInterrupted,
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from backend.upstream.health import Health
from backend.upstream.request import Chunks, Client, UpstreamRequest, final_body

if TYPE_CHECKING:
    from backend.settings.knobs import Deployment, Settings, UpstreamSettings

_AMBIGUOUS = (UpstreamTimeout, UpstreamInterrupted, UpstreamInvalid)
"""Failures after which the deployment may have done, and billed, the work."""
_LONGEST_PAUSE_S = 5.0
_MOST_REMEMBERED = 10_000


class Bill(Protocol):
    """Pricing as the dispatcher needs it: the price is frozen before the attempt is made."""

    def freeze(self, out: Outgoing, attempt: Attempt, deployment: Deployment) -> None:
        """Set the attempt's price id and its upper bound; raises ``Unpriced`` where the settings demand a price."""
        ...


class Book(Protocol):
    """The ledger as the dispatcher needs it: an attempt is durable before it is made."""

    def dispatching(self, entry: Entry, attempt: Attempt) -> None:
        """Record that the attempt is about to be made; raises ``LedgerUnavailable``."""
        ...


@dataclass(slots=True)
class Outgoing:
    """One call on its way out."""

    call: Call
    route: Route
    entry: Entry
    settings: Settings
    deadline: float
    unasked: set[str] = field(default_factory=set)
    """Deployments that refused ``stream_options`` in this call."""

    def left_s(self) -> float:
        """Seconds until the call's own deadline."""
        return max(self.deadline - time.perf_counter(), 0.001)


class Dispatch:
    """Sends calls to deployments, one attempt at a time."""

    def __init__(self, clients: Callable[[str], Client], ledger: Book, bill: Bill) -> None:
        self._clients = clients
        self._ledger = ledger
        self._bill = bill
        self.health = Health()
        self._no_usage_option: set[tuple[str, str]] = set()
        """Deployments and models that refuse ``stream_options``."""

    async def stream(self, call: Call, route: Route, entry: Entry, settings: Settings) -> AsyncGenerator[Chunk]:
        """The answer's chunks; raises the last attempt's ``UpstreamError`` when none gave any."""
        out = Outgoing(call, route, entry, settings, time.perf_counter() + _budget_s(call, settings.upstream))
        plan = _Plan(route, settings.upstream)
        for deployment in plan:
            async with aclosing(self._attempt(out, deployment, plan)) as chunks:
                async for chunk in chunks:
                    yield chunk
            if plan.pause_s is None:
                return
            await asyncio.sleep(plan.pause_s)
            entry.upstream_s += plan.pause_s  # waiting for the deployment to recover is not our overhead

    async def _attempt(self, out: Outgoing, deployment: Deployment, plan: _Plan) -> AsyncGenerator[Chunk]:
        """The chunks of one try; raises its ``UpstreamError`` unless the plan has another try after it."""
        plan.pause_s = None
        try:
            attempt = self._begin(out, deployment)
        except UpstreamError as error:
            plan.fail(error, deployment, out.deadline)
            return
        clock = time.perf_counter()
        chunks = self._clients(deployment.provider).stream(self._request(out, deployment))
        try:
            while (chunk := await _next(chunks, out.entry)) is not None:
                if attempt.ttft_ms is None:
                    _first_chunk(attempt, out.entry, chunk, (time.perf_counter() - clock) * 1000.0)
                plan.shown = True
                yield chunk
            self._succeed(out, attempt, deployment)
        except GatewayError as error:
            _end_badly(attempt, error)
            self._judge(error, deployment, out)
            if not self._drop_option(error, out, deployment, plan):
                plan.fail(error, deployment, out.deadline)
        finally:
            attempt.latency_ms = (time.perf_counter() - clock) * 1000.0
            self.health.end(deployment.name)
            await chunks.aclose()

    def _succeed(self, out: Outgoing, attempt: Attempt, deployment: Deployment) -> None:
        _end_well(attempt)
        self.health.succeeded(deployment.name)
        if deployment.name in out.unasked and len(self._no_usage_option) < _MOST_REMEMBERED:
            self._no_usage_option.add((deployment.name, attempt.model))

    def _judge(self, error: GatewayError, deployment: Deployment, out: Outgoing) -> None:
        """A failure that another deployment might not have had counts against this one."""
        if isinstance(error, UpstreamError) and error.retriable and not _is_callers_fault(error, deployment):
            self.health.failed(deployment.name, out.settings.upstream)

    def _drop_option(self, error: GatewayError, out: Outgoing, deployment: Deployment, plan: _Plan) -> bool:
        """Whether the deployment refused only what we had added, so that it is asked once more without."""
        if not self._asks_usage(out, deployment) or not _refuses_usage_option(error, out.call):
            return False
        out.unasked.add(deployment.name)
        plan.repeat(deployment)
        return True

    def _begin(self, out: Outgoing, deployment: Deployment) -> Attempt:
        if deployment.max_parallel is not None and self.health.open_calls(deployment.name) >= deployment.max_parallel:
            raise _Busy(f"Deployment {deployment.name} is at its limit of parallel calls.", retry_after_ms=1000)
        entry = out.entry
        attempt = Attempt(
            call_id=entry.id,
            number=len(entry.tries) + 1,
            worker=entry.worker,
            deployment=deployment.name,
            provider=deployment.provider,
            model=deployment.upstream_model or out.call.model,
            started_at=time.time_ns() // 1_000_000,
        )
        self._bill.freeze(out, attempt, deployment)
        entry.deployment, entry.provider = deployment.name, deployment.provider
        entry.drain = deployment.on_disconnect == "drain"
        self._ledger.dispatching(entry, attempt)
        entry.tries.append(attempt)
        entry.attempts = attempt.number
        self.health.begin(deployment.name)
        return attempt

    def _request(self, out: Outgoing, deployment: Deployment) -> UpstreamRequest:
        body = final_body(out.call, deployment, ask_usage=self._asks_usage(out, deployment))
        return UpstreamRequest(deployment, out.call, body, out.settings.upstream, out.left_s())

    def _asks_usage(self, out: Outgoing, deployment: Deployment) -> bool:
        known = (deployment.name, deployment.upstream_model or out.call.model)
        return known not in self._no_usage_option and deployment.name not in out.unasked


class _Busy(UpstreamError, RateLimited):
    """No slot is free at the deployment; another may be tried."""

    status = 429
    type = "rate_limit_error"
    code = "deployment_busy"


class _Plan:
    """The order of attempts, and what a failure does to it."""

    def __init__(self, route: Route, settings: UpstreamSettings) -> None:
        self.shown = False
        self.pause_s: float | None = None
        """Seconds until the next try; None when there is none."""
        self._settings = settings
        self._deployments = route.deployments
        self._barred: set[str] = set()
        self._again: Deployment | None = None
        self._last = False

    def __iter__(self) -> Iterator[Deployment]:
        rounds = islice(cycle(self._deployments), 100)
        for made in range(1, self._settings.max_attempts + 1):
            deployment = next((each for each in rounds if each.name not in self._barred), None)
            if deployment is None:
                return
            self._last = made == self._settings.max_attempts
            yield deployment
            while self._again is not None:
                again, self._again = self._again, None
                yield again

    def repeat(self, deployment: Deployment) -> None:
        """Try the same deployment once more; what it refused was our addition, so this is no retry of the call."""
        self._again = deployment
        self.pause_s = 0.0

    def fail(self, error: GatewayError, deployment: Deployment, deadline: float) -> None:
        """Plan the next try after a failure; raises the failure when there must be none, or no time for it."""
        self.pause_s = self._after(error, deployment) if isinstance(error, UpstreamError) else None
        if self.pause_s is None or time.perf_counter() + self.pause_s >= deadline:
            raise error

    def _after(self, error: UpstreamError, deployment: Deployment) -> float | None:
        if self.shown or self._last or not error.retriable:
            return None
        if isinstance(error, _AMBIGUOUS) and not self._settings.retry_ambiguous:
            self._barred.add(deployment.name)
        others = [each for each in self._deployments if each.name not in self._barred]
        if not others:
            return None
        return 0.0 if len(self._deployments) > 1 else self._pause(error)

    def _pause(self, error: UpstreamError) -> float | None:
        asked = (error.retry_after_ms or 0) / 1000.0
        if asked > _LONGEST_PAUSE_S:
            return None
        return max(asked, self._settings.backoff_ms / 1000.0)


def _budget_s(call: Call, settings: UpstreamSettings) -> float:
    own = call.latency_budget_ms
    return min(settings.total_timeout_s, own / 1000.0) if own else settings.total_timeout_s


def _refuses_usage_option(error: GatewayError, call: Call) -> bool:
    """Whether a deployment refused the one field that we added to a stream's request."""
    if not call.stream or call.wants_usage or not isinstance(error, UpstreamRefused):
        return False
    return error.code == "upstream_400" and b"stream_options" in (error.upstream_body or b"")


def _is_callers_fault(error: UpstreamError, deployment: Deployment) -> bool:
    """A deployment that answers to any name cannot know all that callers think of; that is no reason to rest it."""
    return deployment.model == "*" and error.code == "upstream_404"


async def _next(chunks: Chunks, entry: Entry) -> Chunk | None:
    """The next chunk, or None at the end; the time spent waiting for it is the deployment's."""
    waiting = time.perf_counter()
    try:
        return await anext(chunks, None)
    finally:
        entry.upstream_s += time.perf_counter() - waiting


def _first_chunk(attempt: Attempt, entry: Entry, chunk: Chunk, ttft_ms: float) -> None:
    attempt.ttft_ms = ttft_ms
    attempt.http_status = 200
    attempt.upstream_id = str(chunk.event.get("id") or "")[:256] or None
    entry.served_model = str(chunk.event.get("model") or "")[:256] or None


def _end_well(attempt: Attempt) -> None:
    attempt.state = "settled"
    attempt.http_status = 200


def _end_badly(attempt: Attempt, error: GatewayError) -> None:
    billed = attempt.ttft_ms is not None or isinstance(error, _AMBIGUOUS)
    attempt.state = "unknown" if billed and not isinstance(error, UpstreamUnreachable) else "failed"
    attempt.error_code = error.code
    attempt.http_status = error.status if isinstance(error, UpstreamRefused) else attempt.http_status
