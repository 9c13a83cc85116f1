"""A whole answer in the form of a stream: one chunk, without a generator to carry it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Self

from backend.call import Chunk


class Whole:
    """The one chunk that a coroutine returns."""

    __slots__ = ("_work",)

    def __init__(self, work: Coroutine[Any, Any, Chunk]) -> None:
        self._work: Coroutine[Any, Any, Chunk] | None = work

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        work, self._work = self._work, None
        if work is None:
            raise StopAsyncIteration
        return await work

    async def aclose(self) -> None:
        """Give the answer up if nobody has asked for it yet."""
        work, self._work = self._work, None
        if work is not None:
            work.close()
