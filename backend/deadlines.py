"""Deadlines for thousands of tasks at once: each costs a set entry, where a timer of the loop's own costs 5 µs.

Time is cut into ticks; one timer looks at every tick whose deadlines are over. A deadline ends up to two ticks late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Self

TICK_S = 0.01


class Deadlines:
    """Calls back what was not cancelled in time; belongs to the event loop it is first used in."""

    def __init__(self) -> None:
        self._due: dict[int, set[Deadline]] = {}
        self._seen = 0
        """The last tick that was looked at."""
        self._ticking = False
        self._idle = False

    def after(self, seconds: float, callback: Callable[[], object]) -> Deadline:
        """Call back in so many seconds, unless the deadline is cancelled before."""
        tick = int((time.monotonic() + seconds) / TICK_S) + 1
        deadline = Deadline(self._due, tick, callback)
        known = self._due.get(tick)
        if known is None:
            self._due[tick] = {deadline}
        else:
            known.add(deadline)
        self._idle = False
        if not self._ticking:
            self._seen = int(time.monotonic() / TICK_S)
            self._tick(asyncio.get_running_loop())
        return deadline

    def within(self, seconds: float) -> Within:
        """A ``with`` block that raises ``TimeoutError`` when it lasts longer, as ``asyncio.timeout`` does."""
        return Within(self, seconds)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = int(time.monotonic() / TICK_S)
        for tick in range(self._seen + 1, now + 1):
            for deadline in self._due.pop(tick, ()):
                loop.call_soon(deadline.callback)
        self._seen = now
        self._ticking = not self._idle
        if self._ticking:
            self._idle = not self._due
            loop.call_later(TICK_S, self._tick, loop)


class Deadline:
    """A moment at which something is called, unless it is cancelled before."""

    __slots__ = ("_due", "_tick", "callback")

    def __init__(self, due: dict[int, set[Deadline]], tick: int, callback: Callable[[], object]) -> None:
        self._due = due
        self._tick = tick
        self.callback = callback

    def cancel(self) -> None:
        """The callback will not be called; does nothing when its time has come."""
        known = self._due.get(self._tick)
        if known is not None:
            known.discard(self)
            if not known:
                del self._due[self._tick]


class Within:
    """The block of ``Deadlines.within``."""

    __slots__ = ("_cancelling", "_deadline", "_deadlines", "_expired", "_seconds", "_task")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs a task to cancel")
        self._task = task
        self._cancelling = task.cancelling()
        self._deadline = self._deadlines.after(self._seconds, self._expire)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._deadline.cancel()
        del self._deadline  # it calls back into this block: a cycle that only the garbage collector would end
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()
