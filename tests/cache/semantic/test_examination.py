"""A look-up for people sees what a call would meet, and leaves everything as it was."""

from __future__ import annotations

from typing import Any

import pytest

from backend.cache.exact import ExactCache
from backend.cache.semantic.examination import Examiner
from backend.call import Call
from tests.cache.semantic.place import OTHER, PARAPHRASE, RESET, Place, open_place
from tests.fakes import call


def chat(text: str, **body: Any) -> Call:
    return call(messages=[{"role": "user", "content": text}], **body)


async def look_up(place: Place, asked: Call, tenant: str = "tenant") -> dict[str, Any]:
    examiner = Examiner(place.semantic, place.scene.gateway.settings.current.settings.cache)
    return await examiner.look_up(asked, tenant, ExactCache(place.scene.store))


async def test_it_foresees_the_hit_that_a_call_gets() -> None:
    place = await open_place("Use the link.")
    first = await place.ask(RESET)
    found = await look_up(place, chat(PARAPHRASE))
    (near,) = found["nearest"]
    assert (near["call_id"], near["question"], near["would_serve"]) == (first.entry.id, RESET, True)
    assert near["gate"] == {"agrees": True, "findings": []}
    assert (found["decision"]["state"], found["decision"]["scope"]) == ("serving", "manual")
    again = await place.ask(PARAPHRASE)
    assert again.entry.cache_kind == "semantic"
    assert (again.entry.similarity, again.entry.cache_probability) == (near["similarity"], near["probability"])


async def test_to_look_keeps_nothing_and_judges_nothing() -> None:
    place = await open_place("Use the link.", verify_share=1.0)
    await place.ask(RESET)
    for text in (PARAPHRASE, OTHER, PARAPHRASE):
        await look_up(place, chat(text))
    assert len(place.index.entries) == 1
    assert place.labels == []
    assert len(place.scene.client.requests) == 1
    assert len(place.scene.ledger.recorded) == 1


async def test_the_findings_of_the_gate_are_told() -> None:
    place = await open_place()
    await place.ask("what does plan 3 cost per month for one user")
    (near,) = (await look_up(place, chat("what does plan 4 cost per month for one user")))["nearest"]
    assert (near["gate"]["agrees"], near["would_serve"], near["probability"]) == (False, False, 0.0)
    assert "3" in near["gate"]["findings"][0]


async def test_the_most_probable_comes_first_and_the_far_ones_would_not_be_served() -> None:
    place = await open_place()
    for text in (OTHER, RESET):
        await place.ask(text)
    found = (await look_up(place, chat(PARAPHRASE)))["nearest"]
    assert [(each["question"], each["would_serve"]) for each in found] == [(RESET, True), (OTHER, False)]


async def test_an_answer_that_is_gone_would_not_be_served() -> None:
    place = await open_place()
    await place.ask(RESET)
    place.scene.store.entries.clear()
    (near,) = (await look_up(place, chat(PARAPHRASE)))["nearest"]
    assert not near["would_serve"]


async def test_another_tenant_and_another_request_see_other_entries() -> None:
    place = await open_place()
    await place.ask(RESET)
    mine = await look_up(place, chat(PARAPHRASE))
    assert len(mine["nearest"]) == 1
    for asked, tenant in ((chat(PARAPHRASE), "other"), (chat(PARAPHRASE, temperature=0), "tenant")):
        found = await look_up(place, asked, tenant)
        assert found["nearest"] == []
        assert found["partition"] != mine["partition"]


@pytest.mark.parametrize("what", ["embedder", "index"])
async def test_what_is_away_is_said(what: str) -> None:
    place = await open_place()
    getattr(place, what).away = True
    assert await look_up(place, chat(RESET)) == {"reason": f"{what}: away"}


async def test_a_request_that_is_no_question_is_told_why() -> None:
    place = await open_place()
    assert "longer than" in (await look_up(place, chat("why " * 400)))["reason"]


async def test_parts_that_cannot_be_had_are_told_why() -> None:
    place = await open_place()
    place.semantic._loader._parts = None
    place.semantic._loader._retry_at = 1e18
    place.semantic._loader.state = "semantic cache: no such embedder"
    assert await look_up(place, chat(RESET)) == {"reason": "semantic cache: no such embedder"}


async def test_the_layer_says_how_it_is_and_what_is_decided_where() -> None:
    place = await open_place()
    settings = place.scene.gateway.settings.current.settings.cache
    found = Examiner(place.semantic, settings).describe([{"partition": "ab" * 16, "labels": 7}])
    assert (found["mode"], found["loaded"], found["embedder"]) == ("list", True, "words")
    assert found["decision"]["scope"] == "manual"
    assert found["verifier"] == {"name": "cosine", "waiting": None, "labels": 0, "next_at": 400, "last": None}
    assert found["comparisons"] == {"judge": None, "dropped": 0, "judge_failed": 0}
    (partition,) = found["partitions"]
    assert (partition["partition"], partition["state"], partition["threshold"]) == ("ab" * 16, "serving", 0.75)
    calibrated = Examiner(place.semantic, settings.model_copy(update={"threshold_mode": "calibrated"}))
    assert calibrated.describe([])["decision"]["state"] == "observe"


async def test_the_settings_of_the_moment_decide() -> None:
    place = await open_place()
    await place.ask(RESET)
    strict = place.scene.gateway.settings.current.settings.cache.model_copy(update={"manual_threshold": 0.999})
    examiner = Examiner(place.semantic, strict)
    (near,) = (await examiner.look_up(chat(PARAPHRASE), "tenant", ExactCache(place.scene.store)))["nearest"]
    assert not near["would_serve"]
