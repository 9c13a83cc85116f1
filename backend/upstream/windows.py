"""Admission windows: at most so many calls at a deployment, the others wait in a fair queue for their turn.

Callers take turns, however many calls each has waiting: nobody's burst makes another wait behind all of it, or fills
the queue so that another cannot stand in it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from backend.errors import RateLimited, UpstreamError

if TYPE_CHECKING:
    from backend.settings.knobs import Deployment
    from backend.upstream.health import Health


class DeploymentBusy(UpstreamError, RateLimited):
    """No place is free at the deployment; another may be tried."""

    status = 429
    type = "rate_limit_error"
    code = "deployment_busy"


class _Queue:
    """Who waits at one deployment, by caller, and how many were called in but have not begun yet."""

    def __init__(self) -> None:
        self.limit = 0
        self.called = 0
        self.waiting = 0
        self._callers: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def join(self, caller: str) -> asyncio.Future[None]:
        """Stand in line; the future is done when it is this call's turn."""
        turn = asyncio.get_running_loop().create_future()
        self._callers.setdefault(caller, deque()).append(turn)
        self.waiting += 1
        return turn

    def call_next(self) -> None:
        """Let the caller who waits longest for a turn send one call, then stand at the end again."""
        caller, turns = self._callers.popitem(last=False)
        turns.popleft().set_result(None)
        if turns:
            self._callers[caller] = turns
        self.waiting -= 1
        self.called += 1

    def make_room(self, caller: str) -> bool:
        """Send the last in the longest line away, if this caller's line would still be shorter than that one."""
        longest = max(self._callers, key=lambda each: len(self._callers[each]))
        if len(self._callers.get(caller, ())) + 1 >= len(self._callers[longest]):
            return False
        turn = self._callers[longest][-1]
        self.quit(longest, turn)
        turn.cancel()
        return True

    def quit(self, caller: str, turn: asyncio.Future[None]) -> None:
        """Leave the line before one's turn came."""
        turns = self._callers[caller]
        turns.remove(turn)
        if not turns:
            del self._callers[caller]
        self.waiting -= 1


class Windows:
    """The queues of this worker, one per deployment that has a limit."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._queues: dict[str, _Queue] = {}
        health.when_free = self.admit

    async def enter(self, deployment: Deployment, caller: str, patience_s: float) -> None:
        """Return when a call may begin, which it must do at once; raises ``DeploymentBusy`` when there is no place."""
        limit = deployment.max_parallel
        if limit is None:
            return
        queue = self._queues.setdefault(deployment.name, _Queue())
        queue.limit = limit
        self.admit(deployment.name)
        if not queue.waiting and self._has_place(deployment.name, queue):
            return
        patience_s = min(patience_s, deployment.queue_s)
        is_full = queue.waiting >= deployment.max_queued
        if patience_s <= 0 or (is_full and not queue.make_room(caller)):
            raise _busy(deployment)
        await self._wait(queue, deployment, caller, patience_s)

    def admit(self, name: str) -> None:
        """Call in as many as there is room for: a call ended, or the limit was raised."""
        queue = self._queues.get(name)
        while queue is not None and queue.waiting and self._has_place(name, queue):
            queue.call_next()

    async def _wait(self, queue: _Queue, deployment: Deployment, caller: str, patience_s: float) -> None:
        turn = queue.join(caller)
        try:
            await asyncio.wait({turn}, timeout=patience_s)
        except asyncio.CancelledError:
            self._give_up(queue, deployment.name, caller, turn)
            raise
        if not turn.done():
            queue.quit(caller, turn)
        if not turn.done() or turn.cancelled():
            raise _busy(deployment)
        queue.called -= 1

    def _give_up(self, queue: _Queue, name: str, caller: str, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            queue.quit(caller, turn)
        elif not turn.cancelled():
            queue.called -= 1
            self.admit(name)

    def _has_place(self, name: str, queue: _Queue) -> bool:
        return self._health.open_calls(name) + queue.called < queue.limit


def _busy(deployment: Deployment) -> DeploymentBusy:
    return DeploymentBusy(f"Deployment {deployment.name} is at its limit of parallel calls.", retry_after_ms=1000)
