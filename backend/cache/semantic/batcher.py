"""The micro-batcher: texts of concurrent callers go to the embedder together, and each caller gets its own back.

One batch is in flight at a time while others gather, and what has gathered leaves as soon as it lands: batches grow
under load by themselves, and only texts that find the embedder idle wait for company, no longer than the knob says.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Task, TimerHandle
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from backend.cache.semantic.embedding import EmbedderUnavailable, identify


class Identified(Protocol):
    """A result that knows the text it belongs to."""

    @property
    def of(self) -> bytes:
        """``identify`` of the text."""
        ...


Result = TypeVar("Result", bound=Identified)


@dataclass(slots=True)
class _Item(Generic[Result]):
    """One text that waits, and everyone who asked for it."""

    asked_at: float
    """The loop's time, seconds."""
    futures: list[Future[Result]]

    @property
    def wanted(self) -> bool:
        return not all(future.done() for future in self.futures)


class Batcher(Generic[Result]):
    """Gathers texts until there are ``size`` different ones, the oldest waited ``wait_ms`` or a batch lands.

    Both bounds are read live.
    """

    def __init__(
        self,
        embed: Callable[[Sequence[str]], Awaitable[Sequence[Result]]],
        size: Callable[[], int],
        wait_ms: Callable[[], float],
    ) -> None:
        self._embed = embed
        self._size = size
        self._wait_ms = wait_ms
        self._waiting = OrderedDict[str, _Item[Result]]()
        self._flight: Task[None] | None = None
        self._timer: TimerHandle | None = None
        self._closed = False
        self.batches = 0
        """Batches sent so far."""
        self.texts = 0
        """Different texts in them."""
        self.asked = 0
        """Texts asked for, identical ones counted each time."""

    async def embed(self, texts: Sequence[str]) -> list[Result]:
        """The results of these texts, in order; raises what the embedder raised for a batch they were in."""
        if self._closed:
            raise EmbedderUnavailable("embedder: closed")
        futures = [self._enqueue(text) for text in texts]
        self._dispatch_when_due()
        return list(await asyncio.gather(*futures))

    async def close(self) -> None:
        """Give up what is in flight and what waits; callers get ``EmbedderUnavailable``."""
        self._closed = True
        self._stop_timer()
        waiting, self._waiting = self._waiting, OrderedDict()
        _fail(waiting, EmbedderUnavailable("embedder: closed"))
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])

    def _enqueue(self, text: str) -> Future[Result]:
        loop = asyncio.get_running_loop()
        self.asked += 1
        future: Future[Result] = loop.create_future()
        item = self._waiting.get(text)
        if item is None:
            item = self._waiting[text] = _Item(loop.time(), [])
        item.futures.append(future)
        return future

    def _dispatch_when_due(self) -> None:
        """Send a batch if one is due and none is in flight; else see that it is sent when it becomes due."""
        self._stop_timer()
        if self._flight is not None or not self._waiting:
            return
        loop = asyncio.get_running_loop()
        oldest = next(iter(self._waiting.values()))
        due_at = oldest.asked_at + self._wait_ms() / 1000.0
        if len(self._waiting) < self._size() and loop.time() < due_at:
            self._timer = loop.call_at(due_at, self._dispatch_when_due)
            return
        self._dispatch()

    def _dispatch(self) -> None:
        batch, size = dict[str, _Item[Result]](), max(self._size(), 1)
        while self._waiting and len(batch) < size:
            text, item = self._waiting.popitem(last=False)
            if item.wanted:
                batch[text] = item
        if batch:
            self.batches += 1
            self.texts += len(batch)
            self._flight = asyncio.get_running_loop().create_task(self._fly(batch))

    async def _fly(self, batch: dict[str, _Item[Result]]) -> None:
        try:
            _deliver(batch, await self._embed(list(batch)))
        except Exception as error:  # noqa: BLE001 - it belongs to the callers of this batch, and to no other
            _fail(batch, error)
        finally:
            _fail(batch, EmbedderUnavailable("embedder: closed"))
            self._flight = None
            if not self._closed:
                self._dispatch()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _deliver(batch: dict[str, _Item[Result]], results: Sequence[Result]) -> None:
    """Every result to those who asked for its text; raises ``EmbedderUnavailable`` before anyone got a wrong one."""
    if len(results) != len(batch):
        raise EmbedderUnavailable(f"embedder: {len(results)} results for {len(batch)} texts")
    if any(result.of != identify(text) for text, result in zip(batch, results, strict=True)):
        raise EmbedderUnavailable("embedder: a result belongs to another text")
    for item, result in zip(batch.values(), results, strict=True):
        for future in item.futures:
            if not future.done():
                future.set_result(result)


def _fail(batch: Mapping[str, _Item[Result]], error: Exception) -> None:
    for item in batch.values():
        for future in item.futures:
            if not future.done():
                future.set_exception(error)
