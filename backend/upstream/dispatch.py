"""The one place where calls go out: attempts, retries, fallback before the first chunk, cooldown.

What may be tried again (FAILURES B01, A14): a failure before the deployment accepted the call, anywhere; a failure
after it, only at another deployment, because the first may still bill; nothing once a chunk was shown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING, Protocol

from backend.answer import Whole
from backend.call import Attempt, Call, Chunk, Chunks, Entry, Route
from backend.errors import GatewayError, UpstreamError, UpstreamRefused
from backend.upstream.health import Health
from backend.upstream.prefix import PrefixCaching
from backend.upstream.request import Client, UpstreamRequest, final_body
from backend.upstream.trial import AMBIGUOUS, Trial
from backend.upstream.windows import Windows

if TYPE_CHECKING:
    from backend.settings.knobs import Deployment, Settings, UpstreamSettings

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
        self._windows = Windows(self.health)
        self._prefixes = PrefixCaching()
        self._no_usage_option: set[tuple[str, str]] = set()
        """Deployments and models that refuse ``stream_options``."""

    def stream(self, call: Call, route: Route, entry: Entry, settings: Settings) -> Chunks:
        """The answer's chunks; raises the last attempt's ``UpstreamError`` when none gave any."""
        out = Outgoing(call, route, entry, settings, time.perf_counter() + _budget_s(call, settings.upstream))
        return self._stream(out) if call.stream else Whole(self._ask(out))

    async def _stream(self, out: Outgoing) -> AsyncGenerator[Chunk]:
        trial, chunk = await self._reach(out)
        if trial is None:
            return
        try:
            while chunk is not None:
                yield chunk
                chunk = await trial.next()
        finally:
            await trial.close()

    async def _ask(self, out: Outgoing) -> Chunk | None:
        trial, whole = await self._reach(out)
        if trial is None:
            return None
        try:
            while whole is not None and await trial.next() is not None:
                pass  # nothing follows a whole answer, but a client may still have to end
        finally:
            await trial.close()
        return whole

    async def _reach(self, out: Outgoing) -> tuple[Trial | None, Chunk | None]:
        """The first chunk of the first trial that gives one; what fails after it is not tried again."""
        plan = _Plan(out.route, out.settings.upstream)
        for deployment in plan:
            plan.pause_s = None
            try:
                limited = deployment.max_parallel is not None
                trial = await self._enter(out, deployment) if limited else self._begin(out, deployment)
            except UpstreamError as error:
                plan.fail(error, deployment, out.deadline)
            else:
                chunk = await self._try(trial, out, plan)
            if plan.pause_s is None:
                return trial, chunk
            await asyncio.sleep(plan.pause_s)
            out.entry.upstream_s += plan.pause_s  # waiting for the deployment to recover is not our overhead
        return None, None

    async def _enter(self, out: Outgoing, deployment: Deployment) -> Trial:
        """Begin when there is a place at the deployment; the wait is neither our overhead nor the deployment's time."""
        began, entry = time.perf_counter(), out.entry
        try:
            await self._windows.enter(deployment, entry.key_id or entry.tenant or "", out.left_s())
        finally:
            entry.queue_ms = (entry.queue_ms or 0.0) + (time.perf_counter() - began) * 1000.0
        try:
            return self._begin(out, deployment)
        except BaseException:
            self._windows.admit(deployment.name)
            raise

    async def _try(self, trial: Trial, out: Outgoing, plan: _Plan) -> Chunk | None:
        """The first chunk; raises what went wrong unless the plan has another try after it."""
        deployment = trial.deployment
        try:
            chunk = await trial.next()
        except GatewayError as error:
            await trial.close()
            if not self._drop_option(error, out, deployment, plan):
                plan.fail(error, deployment, out.deadline)
            return None
        except BaseException:
            await trial.close()
            raise
        if deployment.name in out.unasked and len(self._no_usage_option) < _MOST_REMEMBERED:
            self._no_usage_option.add((deployment.name, out.entry.tries[-1].model))
        return chunk

    def _drop_option(self, error: GatewayError, out: Outgoing, deployment: Deployment, plan: _Plan) -> bool:
        """Whether the deployment refused only what we had added, so that it is asked once more without."""
        if not self._asks_usage(out, deployment) or not _refuses_usage_option(error, out.call):
            return False
        out.unasked.add(deployment.name)
        plan.repeat(deployment)
        return True

    def _begin(self, out: Outgoing, deployment: Deployment) -> Trial:
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
        body = final_body(out.call, deployment, ask_usage=self._asks_usage(out, deployment))
        body, notes = self._prefixes.shape(body, deployment, out.settings.upstream)
        for note in notes:
            entry.note(note)
        request = UpstreamRequest(deployment, out.call, body, out.settings.upstream, out.left_s())
        chunks = self._clients(deployment.provider).stream(request)
        return Trial(self.health, entry, deployment, out.settings.upstream, chunks)

    def _asks_usage(self, out: Outgoing, deployment: Deployment) -> bool:
        known = (deployment.name, deployment.upstream_model or out.call.model)
        return known not in self._no_usage_option and deployment.name not in out.unasked


class _Plan:
    """The order of attempts, and what a failure does to it."""

    def __init__(self, route: Route, settings: UpstreamSettings) -> None:
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
        if self._last or not error.retriable:
            return None
        if isinstance(error, AMBIGUOUS) and not self._settings.retry_ambiguous:
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
