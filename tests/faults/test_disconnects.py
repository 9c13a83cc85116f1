"""Clients that hang up: seen in every phase, billed, and the upstream is let go or read on to its usage."""

import pytest

from tests.faults.clients import Ask, Cut, Phase
from tests.faults.rig import PATIENT, Rig
from tests.faults.waiting import wait_until

pytestmark = pytest.mark.faults

SLOW = "fake/slow-stream:40:8000"
LATE = "fake/slow-first-byte:8000"
POINTS: list[tuple[str, Phase | None, float | None]] = [
    (LATE, None, 0.3),
    ("fake/accept-never-answer", None, 0.3),
    ("fake/headers-only", None, 0.3),
    (SLOW, "before_first_token", 0.6),
    (SLOW, "mid", 1.5),
    ("fake/stall-after-n:2", None, 0.3),
    ("fake/ok", "after_last", 5),
    ("fake/ok", "before_headers", None),
    ("fake/huge-body:8", "never_read", 1.0),
]
MATRIX = [
    Ask(model, stream=stream, cut=Cut(phase, after_s=after_s, reset=reset))
    for stream in (True, False)
    for reset in (True, False)
    for model, phase, after_s in POINTS
]


async def settle_upstream(rig: Rig) -> None:
    """Wait until the upstream has ended every request: nobody is left waiting for a caller who is gone."""
    await wait_until(lambda: all(record["end"] != "open" for record in rig.acceptances()), timeout_s=6)


@pytest.mark.parametrize("policy", ["abort", "drain"])
async def test_a_client_may_leave_in_every_phase(rig: Rig, policy: str) -> None:
    rig.start({"upstream": PATIENT | {"drain_s": 2}}, on_disconnect=policy)
    outcomes = await rig.place_all(MATRIX, at_once=40)
    assert {outcome.end for outcome in outcomes} <= {"left", "ok", "error"}
    await settle_upstream(rig)
    rig.close()


async def test_hanging_up_after_any_number_of_words_is_billed(rig: Rig) -> None:
    rig.start()
    asks = [Ask("fake/slow-stream:20:2000", stream=True, cut=Cut(words=words)) for words in range(1, 20) for _ in "ab"]
    outcomes = await rig.place_all(asks, at_once=40)
    await settle_upstream(rig)
    books = rig.close()
    calls = {call["session_id"]: call for call in books.calls}
    for outcome in outcomes:
        call = calls[outcome.marker]
        assert outcome.end == "left"
        assert call["status"] == "cancelled"
        assert call["completion_tokens"] >= outcome.words
        assert call["cost_nusd"] > 0


async def test_drains_are_capped_and_every_row_is_closed(rig: Rig) -> None:
    count, cap = 500, 20
    limits = {"upstream": PATIENT | {"drain_max": cap}}
    rig.start(limits, on_disconnect="drain")
    asks = [Ask("fake/slow-stream:4:6000", stream=True, cut=Cut(after_s=3.0)) for _ in range(count)]
    outcomes = await rig.place_all(asks, at_once=count)
    await settle_upstream(rig)
    drained = [record for record in rig.acceptances() if record["end"] == "complete"]
    finished = [outcome for outcome in outcomes if outcome.end == "ok"]
    assert 0 < len(drained) - len(finished) <= cap
    books = rig.close()
    assert len(books.calls) == count
    assert sum(call["state"] == "settled" for call in books.calls) == len(drained)


async def test_a_drained_answer_is_settled_with_the_stated_usage(rig: Rig) -> None:
    rig.start(on_disconnect="drain")
    asks = [Ask("fake/slow-stream:10:500", stream=True, cut=Cut(words=2)) for _ in range(8)]
    outcomes = await rig.place_all(asks)
    await settle_upstream(rig)
    assert {record["end"] for record in rig.acceptances(*outcomes)} == {"complete"}
    books = rig.close()
    assert {(call["state"], call["completion_tokens"]) for call in books.calls} == {("settled", 10)}
