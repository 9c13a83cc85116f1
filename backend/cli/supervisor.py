"""Keeps the processes of one machine running: starts, restarts, rolls and stops them in order."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from backend.cli.output import paint, say
from backend.cli.processes import DRAINER, WORKERS, Child, Role

MOST_FAILED_STARTS = 3
READY_WITHIN_S = 60.0
KILL_AFTER_S = 1.0
HURRY_AFTER_S = 1.0
_STOPPING = (signal.SIGINT, signal.SIGTERM)


class Supervisor:
    """Runs roles in the foreground until SIGINT or SIGTERM; SIGHUP replaces the workers one by one, or stops too."""

    def __init__(
        self, roles: Sequence[Role], *, drain_deadline_s: float, on_ready: Callable[[], None], rolls: bool
    ) -> None:
        self._children = [Child(role) for role in roles if not role.late]
        self._late = [Child(role) for role in roles if role.late]
        self._deadline_s = drain_deadline_s
        self._on_ready: Callable[[], None] | None = on_ready
        self._rolls = rolls
        self._asked_at: float | None = None
        """When somebody asked to stop (monotonic)."""
        self._hurried = False
        self._hung_up = False
        self._wakeup = -1

    def run(self) -> int:
        """Runs until asked to stop; returns 0, or 1 when the processes could not be started."""
        with self._signals():
            try:
                return 0 if self._run_until_asked() else 1
            finally:
                self._stop()

    def _run_until_asked(self) -> bool:
        """Whether it was asked to stop; false when the processes never came up."""
        for child in self._children:
            child.start()
        while not self._stopping:
            self._pump(self._next_due())
            if not self._look_after():
                return False
            if self._hung_up:
                self._hung_up = False
                self._roll()
        return True

    @property
    def _stopping(self) -> bool:
        return self._asked_at is not None

    @contextmanager
    def _signals(self) -> Iterator[None]:
        self._wakeup, write_end = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(write_end, False)
        previous_fd = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        numbers = (*_STOPPING, signal.SIGHUP, signal.SIGCHLD)
        previous = {number: signal.signal(number, self._remember) for number in numbers}
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous_fd)
            for number, reaction in previous.items():
                signal.signal(number, reaction)
            os.close(write_end)
            os.close(self._wakeup)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        """Notes what a signal asks for; Ctrl-C again means at once, but one Ctrl-C may reach us twice."""
        now = time.monotonic()
        if number == signal.SIGHUP and self._rolls:
            self._hung_up = True
        elif number != signal.SIGCHLD and self._asked_at is None:
            self._asked_at = now
        elif number == signal.SIGINT and self._asked_at is not None:
            self._hurried = now - self._asked_at > HURRY_AFTER_S

    def _pump(self, until: float | None) -> None:
        """Sleeps until something happens: a signal, a child's word or end, or the moment given (monotonic)."""
        pipes = {child.pipe: child for child in self._children if child.pipe is not None}
        timeout = None if until is None else max(0.0, until - time.monotonic())
        readable, _, _ = select.select([self._wakeup, *pipes], [], [], timeout)
        for descriptor in readable:
            if descriptor == self._wakeup:
                _drain(self._wakeup)
            else:
                pipes[descriptor].read_pipe()

    def _next_due(self) -> float | None:
        return min((child.due_at for child in self._children if child.due_at is not None), default=None)

    def _look_after(self) -> bool:
        """Restarts what ended; false when the processes never came up."""
        for child in self._children:
            if self._stopping:
                break
            if child.due_at is not None:
                if child.due_at <= time.monotonic():
                    child.start()
            elif not child.alive and not self._plan_restart(child):
                return False
        if self._on_ready and all(child.ready or (child.failures and not child.role.vital) for child in self._children):
            announce, self._on_ready = self._on_ready, None
            announce()
            self._start_late()
        return True

    def _start_late(self) -> None:
        for child in self._late:
            child.start()
        self._children += self._late
        self._late = []

    def _plan_restart(self, child: Child) -> bool:
        ended = f"{child.role.name} (pid {child.pid}) {child.describe_end()}"
        pause_s = child.plan_restart()
        if self._on_ready and child.role.vital and not child.ready and child.failures >= MOST_FAILED_STARTS:
            _warn(f"{ended}; it does not start, so everything stops.")
            return False
        _warn(f"{ended}; it starts again in {pause_s:g} s.")
        return True

    def _roll(self) -> None:
        """Replaces workers one by one: the new one accepts calls before the old one stops, on the same socket."""
        _warn("replacing the workers one by one")
        for old in [child for child in self._children if child.role.stage == WORKERS]:
            fresh = Child(old.role)
            self._children.append(fresh)
            fresh.start()
            up = self._wait_until(lambda fresh=fresh: fresh.ready or not fresh.alive, READY_WITHIN_S)  # type: ignore[misc]
            if not up or not fresh.ready:
                fresh.kill()
                self._children.remove(fresh)
                _warn(f"{old.role.name}: the new process did not become ready; the old one stays.")
                return
            old.terminate()
            if not self._wait_until(lambda old=old: not old.alive, self._deadline_s + KILL_AFTER_S):  # type: ignore[misc]
                old.kill()
            old.forget_pipe()
            self._children.remove(old)
        self._renew_drainer()
        _warn("every worker was replaced")

    def _renew_drainer(self) -> None:
        """The drainer has no connections to keep: it ends, then starts again; the spool waits meanwhile."""
        for child in [child for child in self._children if child.role.stage == DRAINER and child.alive]:
            child.terminate()
            if not self._wait_until(lambda child=child: not child.alive, self._deadline_s + KILL_AFTER_S):  # type: ignore[misc]
                child.kill()
            child.start()

    def _wait_until(self, happened: Callable[[], bool], patience_s: float) -> bool:
        """Whether it happened in time; gives up early when everything is to stop, or to stop at once."""
        ends_at = time.monotonic() + patience_s
        stopping = self._stopping
        while not happened():
            if time.monotonic() >= ends_at or self._hurried or self._stopping != stopping:
                return False
            self._pump(ends_at)
        return True

    def _close_listeners(self) -> None:
        for child in self._children:
            if child.role.listener is not None:
                child.role.listener.close()

    def _stop(self) -> None:
        """Stops stage by stage within the drain deadline; what is left a second later is killed."""
        self._asked_at = self._asked_at or time.monotonic()
        ends_at = time.monotonic() + self._deadline_s + KILL_AFTER_S
        self._close_listeners()
        for stage in sorted({child.role.stage for child in self._children}):
            members = [child for child in self._children if child.role.stage == stage]
            if stage == DRAINER:
                _revive(members)
            for child in members:
                child.terminate()
            patience_s = ends_at - time.monotonic()
            if not self._wait_until(lambda members=members: not any(each.alive for each in members), patience_s):  # type: ignore[misc]
                break
        for child in self._children:
            if child.alive:
                _warn(f"{child.role.name} (pid {child.pid}) did not end in time and was killed.")
                child.kill()
            child.forget_pipe()


def _revive(drainers: list[Child]) -> None:
    """What the workers spooled last is drained before the end, even if the drainer died meanwhile."""
    for child in drainers:
        if not child.alive:
            child.start()


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except BlockingIOError:
        return


def _warn(text: str) -> None:
    say(f"{paint('governor:', 'yellow', stream=sys.stderr)} {text}")
