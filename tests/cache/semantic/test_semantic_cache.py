"""The semantic layer in the path of a call: what is served, what is only noted, what becomes evidence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from backend.cache.semantic.batcher import Batcher
from backend.cache.semantic.embedding import Embedding
from backend.cache.semantic.gate import compare
from backend.call import Identity
from db.cache_labels import Label
from tests.cache.semantic.place import MANUAL, OTHER, PARAPHRASE, RESET, open_place
from tests.fakes import settings, whole


async def test_other_words_for_the_same_question_get_the_answer_given_before() -> None:
    place = await open_place("Use the link.", "never")
    first, again = await place.ask(RESET), await place.ask(PARAPHRASE)
    assert (first.entry.cache_kind, again.entry.cache_kind) == ("miss", "semantic")
    assert again.text == "Use the link."
    assert again.entry.source_call_id == first.entry.id
    assert (again.entry.cost_nusd, again.entry.saved_nusd) == (0, first.entry.cost_nusd)
    assert again.entry.similarity == again.entry.cache_probability
    assert again.entry.similarity_threshold == 0.75
    assert again.entry.embed_ms is not None
    assert len(place.scene.client.requests) == 1


async def test_a_stream_gets_it_as_a_stream() -> None:
    place = await open_place("Use the link.")
    await place.ask(RESET)
    again = await place.ask(PARAPHRASE, stream=True)
    assert (again.entry.cache_kind, again.text) == ("semantic", "Use the link.")
    assert len(again.chunks) > 2


async def test_a_question_too_far_away_goes_upstream_and_the_nearest_is_noted() -> None:
    place = await open_place()
    first, other = await place.ask(RESET), await place.ask(OTHER)
    assert other.entry.cache_kind == "miss"
    assert other.entry.source_call_id == first.entry.id
    assert 0 <= (other.entry.similarity or 0) < 0.5


async def test_the_gate_refuses_what_the_verifier_would_believe() -> None:
    place = await open_place()
    await place.ask("what does plan 3 cost per month for one user")
    other = await place.ask("what does plan 4 cost per month for one user")
    assert other.entry.cache_kind == "miss"
    assert other.entry.cache_probability == 0.0
    assert any("gate" in note for note in other.entry.notes or ())


async def test_nothing_is_served_before_the_evidence_suffices_and_every_near_miss_is_evidence() -> None:
    place = await open_place("Use the link.", "use the LINK.", threshold_mode="calibrated")
    await place.ask(RESET)
    again = await place.ask(PARAPHRASE)
    assert again.entry.cache_kind == "miss"
    (label,) = place.labels
    assert (label.id, label.same, label.source, label.propensity) == (again.entry.id, True, "exact", 1.0)
    assert label.source_call_id == place.index.entries[0].id
    assert label.tenant == "tenant"
    assert any("labels" in note for note in again.entry.notes or ())


async def test_answers_that_differ_are_evidence_against() -> None:
    place = await open_place("It costs 5 dollars.", "It costs 7 dollars.", threshold_mode="calibrated")
    await place.ask(RESET)
    await place.ask(PARAPHRASE)
    assert [label.same for label in place.labels] == [False]


async def test_a_sampled_hit_is_answered_fresh_and_compared() -> None:
    place = await open_place("Use the link.", verify_share=1.0)
    await place.ask(RESET)
    again = await place.ask(PARAPHRASE)
    assert again.entry.cache_kind == "miss"
    assert [(label.same, label.propensity) for label in place.labels] == [(True, 1.0)]


async def test_no_tenant_ever_gets_the_answer_of_another() -> None:
    place = await open_place()
    await place.ask(RESET)
    place.scene.keys.identity = Identity("other", "key-2")
    again = await place.ask(PARAPHRASE)
    assert (again.entry.cache_kind, again.entry.similarity) == ("miss", None)


async def test_tenants_of_a_pool_share() -> None:
    place = await open_place(shared_pools=["docs = tenant, other"])
    await place.ask(RESET)
    place.scene.keys.identity = Identity("other", "key-2")
    assert (await place.ask(PARAPHRASE)).entry.cache_kind == "semantic"


async def test_an_entry_whose_answer_is_gone_is_a_miss() -> None:
    place = await open_place()
    await place.ask(RESET)
    place.scene.store.entries.clear()
    assert (await place.ask(PARAPHRASE)).entry.cache_kind == "miss"


async def test_what_the_caller_forbids_to_store_is_not_found_again() -> None:
    place = await open_place()
    await place.ask(RESET, cache={"no-store": True})
    assert place.index.entries == []
    assert (await place.ask(PARAPHRASE)).entry.similarity is None


async def test_cut_answers_are_not_indexed() -> None:
    place = await open_place()
    place.scene.client.scripts = [[whole("cut", choices=[whole()["choices"][0] | {"finish_reason": "length"}])]]
    await place.ask(RESET)
    assert place.index.entries == []


@pytest.mark.parametrize("what", ["embedder", "index"])
async def test_a_part_that_is_away_costs_no_call(what: str) -> None:
    place = await open_place()
    await place.ask(RESET)
    getattr(place, what).away = True
    again = await place.ask(PARAPHRASE)
    assert (again.entry.status, again.entry.cache_kind) == ("ok", "miss")
    assert any("away" in note for note in again.entry.notes or ())


async def test_an_embedder_that_hangs_costs_no_more_than_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    place = await open_place(semantic_timeout_ms=10)

    async def hang(_texts: Sequence[str]) -> list[Embedding]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(place.semantic._loader.loaded, "batcher", Batcher(hang, lambda: 4, lambda: 0.0))
    again = await place.ask(RESET)
    assert again.entry.status == "ok"
    assert any("too slow" in note for note in again.entry.notes or ())


async def test_a_fault_inside_costs_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    place = await open_place()

    def fail(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("backend.cache.semantic.cache.read_question", fail)
    again = await place.ask(RESET)
    assert again.entry.status == "ok"
    assert "secret" not in str(again.entry.notes)


async def test_labels_of_another_verifier_are_no_evidence() -> None:
    old = [Label(f"c{n}", n, "t", "00", 0.9, 0.99, True, "exact", 1.0, verifier="older") for n in range(500)]
    place = await open_place(labels=old, threshold_mode="calibrated")
    loaded = place.semantic._loader.loaded
    assert loaded is not None
    decision = loaded.feed.calibration.decide("00", place.scene.gateway.settings.current.settings.cache)
    assert (decision.state, decision.labels) == ("observe", 0)


async def test_evidence_that_suffices_lets_hits_be_served() -> None:
    good = [Label(f"c{n}", n, "t", "00", 0.9, 0.999, True, "exact", 1.0, verifier="cosine") for n in range(3000)]
    place = await open_place(labels=good, threshold_mode="calibrated", max_false_hit_rate=0.05)
    await place.ask(RESET)
    loaded = place.semantic._loader.loaded
    assert loaded is not None
    decision = loaded.feed.calibration.decide("00", place.scene.gateway.settings.current.settings.cache)
    assert decision.state == "serving"


async def test_another_embedder_begins_anew() -> None:
    place = await open_place()
    await place.ask(RESET)
    document = settings(cache={**MANUAL, "embedder": "local"})
    place.scene.use(document)
    again = await place.ask(PARAPHRASE)
    assert again.entry.cache_kind == "miss"
    assert any("starting" in note for note in again.entry.notes or ())


async def test_to_compare_an_answer_is_no_hit_to_serve_it_is_one() -> None:
    place = await open_place("Use the link.", verify_share=1.0)
    await place.ask(RESET)
    await place.ask(PARAPHRASE)
    assert len(place.labels) == 1
    assert place.scene.store.hits == []
    place.scene.use(settings(cache=MANUAL))
    served = await place.ask("how may I reset my password")
    assert served.entry.cache_kind == "semantic"
    assert len(place.scene.store.hits) == 1


async def test_a_served_hit_says_why_and_in_which_partition() -> None:
    place = await open_place()
    await place.ask(RESET)
    note = " ".join((await place.ask(PARAPHRASE)).entry.notes or ())
    assert "set by hand" in note
    assert f"partition {place.index.entries[0].partition.hex()}" in note


async def test_the_index_waits_for_a_server_as_long_as_the_store_does() -> None:
    place = await open_place(store_timeout_ms=7)
    await place.ask(RESET)
    assert place.index.timeout_ms == 7


async def test_no_more_neighbours_are_weighed_than_it_takes_to_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    place = await open_place(manual_threshold=0.999)
    for text in (RESET, "how shall I reset my password", "how must I reset my password"):
        await place.ask(text)
    assert len(place.index.entries) == 3
    weighed = list[str]()

    def watch(asked: str, stored: str) -> Any:
        weighed.append(stored)
        return compare(asked, stored)

    monkeypatch.setattr("backend.cache.semantic.weighing.compare", watch)
    assert (await place.ask(PARAPHRASE)).entry.cache_kind == "miss"
    assert len(weighed) == 3
    place.scene.use(settings(cache=MANUAL))
    weighed.clear()
    assert (await place.ask("how could I reset my password")).entry.cache_kind == "semantic"
    assert len(weighed) == 1
