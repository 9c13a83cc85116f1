"""Clients that hang up: seen in every phase, billed, and the upstream is let go or read on to its usage."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.faults.clients import Ask, Cut, Outcome, Phase
from tests.faults.rig import PATIENT, Rig
from tests.faults.waiting import wait_until

pytestmark = pytest.mark.faults

DRAINS = 20
POLICIES = ("abort", "drain")
SLOW = "fake/slow-stream:40:8000"
POINTS: list[tuple[str, Phase | None, float | None]] = [
    ("fake/slow-first-byte:8000", None, 0.3),
    ("fake/accept-never-answer", None, 0.3),
    ("fake/headers-only", None, 0.3),
    (SLOW, "before_first_token", 0.6),
    (SLOW, "mid", 1.5),
    ("fake/stall-after-n:2", None, 0.3),
    ("fake/ok", "after_last", 5),
    ("fake/ok", "before_headers", None),
    ("fake/huge-body:8", "never_read", 1.0),
]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One gateway for all of them, with a deployment for each policy; the books are compared at the end."""
    scene = Rig(tmp_path_factory.mktemp("disconnects"))
    deployments = [scene.deployment(name=policy, on_disconnect=policy) for policy in POLICIES]
    limits = {"upstream": PATIENT | {"drain_s": 4, "drain_max": DRAINS}, "gateway": {"write_stall_s": 2}}
    scene.start({"deployments": deployments} | limits)
    yield scene
    try:
        scene.close()
    finally:
        scene.remove()


def ask(policy: str, model: str, cut: Cut, stream: bool = True) -> Ask:
    return Ask(model, stream=stream, cut=cut, headers={"x-governor-deployment": policy})


async def settle_upstream(rig: Rig, *outcomes: Outcome) -> None:
    """Wait until the upstream has ended these: nobody is left waiting for a caller who is gone."""
    await wait_until(lambda: all(record["end"] != "open" for record in rig.acceptances(*outcomes)), timeout_s=6)


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_client_may_leave_in_every_phase(rig: Rig, policy: str) -> None:
    cuts = [
        ask(policy, model, Cut(phase, after_s=after_s, reset=reset), stream)
        for stream in (True, False)
        for reset in (True, False)
        for model, phase, after_s in POINTS
    ]
    outcomes = await rig.place_all(cuts, at_once=40)
    assert {outcome.end for outcome in outcomes} <= {"left", "ok", "error"}
    await settle_upstream(rig, *outcomes)
    rows = await rig.wait_rows(*outcomes)
    assert {row["deployment"] for row in rows if row["attempts"]} == {policy}


async def test_hanging_up_after_any_number_of_words_is_billed(rig: Rig) -> None:
    cuts = [ask("abort", "fake/slow-stream:20:2000", Cut(words=words)) for words in range(1, 20) for _ in "ab"]
    outcomes = await rig.place_all(cuts, at_once=40)
    await settle_upstream(rig, *outcomes)
    calls = {row["session_id"]: row for row in await rig.wait_rows(*outcomes)}
    for outcome in outcomes:
        call = calls[outcome.marker]
        assert (outcome.end, call["status"], call["state"]) == ("left", "cancelled", "estimated")
        assert call["completion_tokens"] >= outcome.words
        assert call["cost_nusd"] > 0


async def test_a_drained_answer_is_settled_with_the_stated_usage(rig: Rig) -> None:
    outcomes = await rig.place_all([ask("drain", "fake/slow-stream:10:500", Cut(words=2)) for _ in range(8)])
    await settle_upstream(rig, *outcomes)
    assert {record["end"] for record in rig.acceptances(*outcomes)} == {"complete"}
    rows = await rig.wait_rows(*outcomes)
    assert {(row["state"], row["completion_tokens"]) for row in rows} == {("settled", 10)}


async def test_a_client_that_reads_nothing_is_let_go(rig: Rig) -> None:
    asks = [ask("abort", "fake/huge-body:20", Cut("never_read", after_s=15)) for _ in range(3)]
    load = asyncio.create_task(rig.place_all(asks))
    rows = await rig.wait_rows(*asks)
    assert not load.done()
    assert {row["status"] for row in rows} == {"cancelled"}
    await load


async def test_drains_are_capped_and_every_row_is_closed(rig: Rig) -> None:
    count = 500
    cuts = [ask("drain", "fake/slow-stream:4:6000", Cut(after_s=3.0)) for _ in range(count)]
    outcomes = await rig.place_all(cuts, at_once=count)
    await settle_upstream(rig, *outcomes)
    whole = [record["marker"] for record in rig.acceptances(*outcomes) if record["end"] == "complete"]
    stayed = [outcome.marker for outcome in outcomes if outcome.end == "ok"]
    assert 0 < len(set(whole) - set(stayed)) <= DRAINS
    rows = await rig.wait_rows(*outcomes)
    assert {row["session_id"] for row in rows if row["state"] == "settled"} == set(whole)
