"""Texts of concurrent callers go to the embedder together, and each caller gets its own back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cache.semantic.batcher import Batcher
from backend.cache.semantic.embedding import EmbedderUnavailable, Embedding, identify

NEVER = 3_600_000.0
"""Milliseconds that no test lives to see."""


def embedding(text: str) -> Embedding:
    return Embedding(np.frombuffer(identify(text), dtype=np.uint8).astype(np.float32), None, (), identify(text))


@dataclass
class Knobs:
    size: int = 16
    wait_ms: float = 0.0


@dataclass
class FakeEmbedder:
    """Remembers its batches; while closed it keeps them, and what it is told to do to a batch it does."""

    batches: list[list[str]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    most_under_way: int = 0
    turns: int = 0
    errors: list[Exception] = field(default_factory=list)
    """For the first batches, one each."""

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        self.batches.append(list(texts))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.open.wait()
            for _ in range(self.turns):
                await asyncio.sleep(0)
            if self.errors:
                raise self.errors.pop(0)
            return self.answer([embedding(text) for text in texts])
        finally:
            self.under_way -= 1

    def answer(self, right: list[Embedding]) -> list[Embedding]:
        return right


def make(fake: FakeEmbedder, knobs: Knobs, *, opened: bool = True) -> Batcher[Embedding]:
    if opened:
        fake.open.set()
    return Batcher(fake.embed, lambda: knobs.size, lambda: knobs.wait_ms)


async def turn(times: int = 10) -> None:
    """Let everything run that can."""
    for _ in range(times):
        await asyncio.sleep(0)


def is_of(text: str, found: Embedding) -> bool:
    return found.of == identify(text) and bool((found.vector == embedding(text).vector).all())


async def test_a_single_caller_is_served_at_once_where_the_wait_is_zero_and_no_texts_ask_nothing() -> None:
    fake = FakeEmbedder()
    batcher = make(fake, Knobs())
    (found,) = await batcher.embed(["a"])
    assert is_of("a", found)
    assert await batcher.embed([]) == []
    assert fake.batches == [["a"]]


async def test_a_batch_leaves_as_soon_as_it_is_full() -> None:
    fake = FakeEmbedder()
    batcher = make(fake, Knobs(size=3, wait_ms=NEVER))
    callers = [asyncio.ensure_future(batcher.embed([text])) for text in "ab"]
    await turn()
    assert fake.batches == []
    assert all(is_of("c", each) for each in await batcher.embed(["c"]))
    await asyncio.gather(*callers)
    assert fake.batches == [["a", "b", "c"]]


async def test_a_batch_that_does_not_fill_leaves_when_its_oldest_text_has_waited_long_enough() -> None:
    fake, loop = FakeEmbedder(), asyncio.get_running_loop()
    batcher = make(fake, Knobs(size=100, wait_ms=5.0))
    before = loop.time()
    first = asyncio.ensure_future(batcher.embed(["a"]))
    await turn()
    second = asyncio.ensure_future(batcher.embed(["b"]))
    await turn()
    assert batcher._timer is not None
    assert before + 0.005 <= batcher._timer.when() <= loop.time() + 0.005
    await asyncio.gather(first, second)
    assert fake.batches == [["a", "b"]]


async def test_size_and_wait_are_read_anew_for_every_batch() -> None:
    fake, knobs = FakeEmbedder(), Knobs(size=1, wait_ms=NEVER)
    batcher = make(fake, knobs)
    await batcher.embed(["a"])
    knobs.size = 2
    await asyncio.gather(batcher.embed(["b"]), batcher.embed(["c"]))
    waiting = asyncio.ensure_future(batcher.embed(["d"]))
    await turn()
    assert fake.batches == [["a"], ["b", "c"]]
    knobs.wait_ms = 0.0
    await asyncio.gather(waiting, batcher.embed(["d"]))
    assert fake.batches == [["a"], ["b", "c"], ["d"]]


async def test_batches_grow_while_one_is_in_flight() -> None:
    fake = FakeEmbedder()
    batcher = make(fake, Knobs(size=4), opened=False)
    callers = [asyncio.ensure_future(batcher.embed([text])) for text in "abcdefgh"]
    await turn()
    assert fake.batches == [["a"]]
    fake.open.set()
    await asyncio.gather(*callers)
    assert fake.batches == [["a"], ["b", "c", "d", "e"], ["f", "g", "h"]]
    assert fake.most_under_way == 1
    assert (batcher.batches, batcher.texts, batcher.asked) == (3, 8, 8)


async def test_what_gathered_during_a_flight_does_not_wait_for_more() -> None:
    fake = FakeEmbedder()
    batcher = make(fake, Knobs(size=2, wait_ms=NEVER), opened=False)
    callers = [asyncio.ensure_future(batcher.embed([text])) for text in "abc"]
    await turn()
    assert fake.batches == [["a", "b"]]
    fake.open.set()
    await asyncio.gather(*callers)
    assert fake.batches == [["a", "b"], ["c"]]


async def test_identical_texts_of_a_batch_are_embedded_once() -> None:
    fake = FakeEmbedder()
    batcher = make(fake, Knobs(size=2, wait_ms=NEVER))
    found = await asyncio.gather(batcher.embed(["a", "a"]), batcher.embed(["a"]), batcher.embed(["b"]))
    assert fake.batches == [["a", "b"]]
    assert [len(each) for each in found] == [2, 1, 1]
    assert all(is_of("a", each) for each in [*found[0], *found[1]])
    assert (batcher.texts, batcher.asked) == (2, 4)


async def test_a_caller_with_more_texts_than_a_batch_holds_gets_them_all_in_order() -> None:
    fake = FakeEmbedder()
    found = await make(fake, Knobs(size=3)).embed(list("abcdefgh"))
    assert all(is_of(text, each) for text, each in zip("abcdefgh", found, strict=True))
    assert [len(batch) for batch in fake.batches] == [3, 3, 2]


class Short(FakeEmbedder):
    def answer(self, right: list[Embedding]) -> list[Embedding]:
        return right[:-1]


class Long(FakeEmbedder):
    def answer(self, right: list[Embedding]) -> list[Embedding]:
        return [*right, right[0]]


class Swapped(FakeEmbedder):
    def answer(self, right: list[Embedding]) -> list[Embedding]:
        return right[::-1]


class Unsigned(FakeEmbedder):
    def answer(self, right: list[Embedding]) -> list[Embedding]:
        return [right[0], *(replace(each, of=b"") for each in right[1:])]


@pytest.mark.parametrize("kind", [Short, Long, Swapped, Unsigned])
async def test_a_batch_whose_results_do_not_match_its_texts_fails_as_a_whole(kind: type[FakeEmbedder]) -> None:
    fake = kind()
    batcher = make(fake, Knobs(size=3, wait_ms=NEVER))
    found = await asyncio.gather(*(batcher.embed([text]) for text in "abc"), return_exceptions=True)
    assert [type(each) for each in found] == [EmbedderUnavailable] * 3


async def test_an_error_reaches_every_caller_of_its_batch_and_no_other() -> None:
    fake = FakeEmbedder(errors=[EmbedderUnavailable("away")])
    batcher = make(fake, Knobs(size=2, wait_ms=NEVER), opened=False)
    first = [asyncio.ensure_future(batcher.embed([text])) for text in "ab"]
    await turn()
    second = [asyncio.ensure_future(batcher.embed([text])) for text in "cd"]
    await turn()
    fake.open.set()
    failed = await asyncio.gather(*first, return_exceptions=True)
    assert [str(each) for each in failed] == ["away", "away"]
    assert all(is_of(text, each[0]) for text, each in zip("cd", await asyncio.gather(*second), strict=True))


async def test_a_cancelled_caller_does_not_disturb_the_others_of_its_batch() -> None:
    fake = FakeEmbedder()
    batcher = make(fake, Knobs(size=3, wait_ms=NEVER), opened=False)
    callers = [asyncio.ensure_future(batcher.embed([text])) for text in "aab"]
    await turn()
    assert fake.batches == []
    last = asyncio.ensure_future(batcher.embed(["c"]))
    await turn()
    callers[0].cancel()
    callers[2].cancel()
    fake.open.set()
    assert is_of("a", (await callers[1])[0])
    assert is_of("c", (await last)[0])
    assert callers[0].cancelled()
    assert callers[2].cancelled()


async def test_a_text_nobody_waits_for_any_more_is_not_embedded() -> None:
    fake = FakeEmbedder()
    batcher = make(fake, Knobs(size=2), opened=False)
    first = asyncio.ensure_future(batcher.embed(["a"]))
    await turn()
    gone = asyncio.ensure_future(batcher.embed([f"gone {number}" for number in range(5_000)]))
    stays = asyncio.ensure_future(batcher.embed(["b"]))
    await turn()
    gone.cancel()
    await turn()
    fake.open.set()
    await asyncio.gather(first, stays)
    assert fake.batches == [["a"], ["b"]]


async def test_closing_gives_up_what_waits_and_what_is_in_flight() -> None:
    fake = FakeEmbedder()
    batcher = make(fake, Knobs(size=1), opened=False)
    callers = [asyncio.ensure_future(batcher.embed([text])) for text in "ab"]
    await turn()
    await batcher.close()
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(each) for each in found] == ["embedder: closed"] * 2
    assert fake.under_way == 0
    with pytest.raises(EmbedderUnavailable):
        await batcher.embed(["c"])


@dataclass(frozen=True)
class Caller:
    texts: tuple[str, ...]
    after: int
    """Turns of the loop before it asks."""
    patience: int | None
    """Turns before it gives up."""


CALLERS = st.lists(
    st.builds(
        Caller,
        st.lists(st.sampled_from("abcdefgh"), max_size=5).map(tuple),
        st.integers(0, 12),
        st.none() | st.integers(0, 12),
    ),
    max_size=12,
)


async def play(caller: Caller, batcher: Batcher[Embedding]) -> list[Embedding] | None:
    await turn(caller.after)
    asking = asyncio.ensure_future(batcher.embed(caller.texts))
    if caller.patience is not None:
        await turn(caller.patience)
        asking.cancel()
    try:
        return await asking
    except asyncio.CancelledError:
        return None


@given(callers=CALLERS, size=st.integers(1, 6), wait_ms=st.sampled_from([0.0, 0.1]), turns=st.integers(0, 6))
def test_each_caller_gets_its_own_vectors_however_they_interleave(
    callers: list[Caller], size: int, wait_ms: float, turns: int
) -> None:
    async def run() -> None:
        fake = FakeEmbedder(turns=turns)
        batcher = make(fake, Knobs(size, wait_ms))
        for caller, found in zip(callers, await asyncio.gather(*(play(c, batcher) for c in callers)), strict=True):
            assert found is not None or caller.patience is not None
            assert found is None or [each.of for each in found] == [identify(text) for text in caller.texts]
        assert fake.most_under_way <= 1
        assert all(len(batch) <= size and len(set(batch)) == len(batch) for batch in fake.batches)

    asyncio.run(run())
