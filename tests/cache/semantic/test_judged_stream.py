"""An upstream that words every answer anew: the evidence that text and embeddings cannot give comes from a judge."""

from __future__ import annotations

from random import Random
from typing import Any, cast

import numpy as np
import orjson
import pytest

from backend.cache.exact import ExactCache
from backend.cache.semantic.batcher import Batcher
from backend.cache.semantic.calibration import Calibration
from backend.cache.semantic.judge import Judge
from backend.cache.semantic.question import Question
from backend.cache.semantic.verification import Fresh, Verification
from backend.cache.semantic.verifier import FEATURES, Phrase
from backend.cache.semantic.weighing import Asked, Candidate
from backend.call import Entry, Match, StoredAnswer
from backend.settings.knobs import CacheSettings
from db.cache_labels import Label
from tests.cache.semantic.place import PARAPHRASE, RESET, FakeEmbedder, open_place
from tests.fakes import FakeStore, whole

OPENINGS = ("Certainly", "Of course", "Here is how it goes", "In short", "To begin with", "Happily")
STEPS = ("open the page", "visit our site", "look at the screen", "go to your profile", "start the app")
ENDS = ("and you are done", "then wait a moment", "that is all there is to it", "and the rest follows", "as shown")


def word(truth: str, random: Random) -> str:
    """The same truth, never twice in the same words."""
    parts = [random.choice(each) for each in (OPENINGS, STEPS, ENDS)]
    return f"{parts[0]}: {parts[1]}, choose {truth} {parts[2]}."


class KnowingJudge:
    """A model that finds the truth in both texts, and errs now and then."""

    def __init__(self, random: Random, error: float) -> None:
        self.random, self.error = random, error

    async def __call__(self, _name: str, body: dict[str, Any], _tenant: str) -> dict[str, Any]:
        shown = body["messages"][1]["content"]
        mark = shown.partition("<<<")[2].partition("\n")[0]
        truths = [each.split()[0] for each in shown.split("choose ")[1:]]
        same = (truths[0] == truths[1]) != (self.random.random() < self.error)
        return whole(orjson.dumps({"mark": mark, "same": same}).decode())


class FewParts:
    """What a comparison needs of the layer's parts."""

    def __init__(self) -> None:
        self.embedder = FakeEmbedder()
        self.batcher = Batcher(self.embedder.embed, lambda: 4, lambda: 0.0)
        self.space = "words"
        self.verifier = type("Named", (), {"name": "v"})()


async def watch(pairs: int, settings: CacheSettings) -> tuple[Calibration, list[Label]]:
    """The evidence of so many would-be hits of the surest kind, all of them right."""
    random, store, labels = Random(7), FakeStore(), list[Label]()
    parts, exact = FewParts(), ExactCache(store)
    verification = Verification(exact, labels.append, Judge(KnowingJudge(Random(8), 0.002)))
    for number in range(pairs):
        truth, key = f"option{number % 40}", number.to_bytes(4, "big")
        body = orjson.dumps(whole(word(truth, random)))
        store.entries[key] = StoredAnswer(key, "tenant", "m", f"source-{number}", body, 0, 2**60)
        best = Candidate(cast("Any", None), 0.9, 0.99, (), np.zeros(len(FEATURES)))
        asked = Asked(Question("how", b"p" * 16), cast("Phrase", None), best)
        match = Match("00" * 16, asked, 0.1, "", source_key=key, similarity=0.9, probability=0.99, verify=True)
        entry = Entry("worker", "chat.completions", tenant="tenant", model="m")
        verification.begin(Fresh(match, asked, entry, whole(word(truth, random)), cast("Any", parts)), settings)
        if number % 32 == 31:
            await verification.close()
    await verification.close()
    return Calibration(labels), labels


@pytest.mark.parametrize("judge", ["", "fair"])
async def test_a_judge_lets_a_stream_of_reworded_answers_be_served(judge: str) -> None:
    settings = CacheSettings(max_false_hit_rate=0.02, judge=judge, judge_calls_per_hour=10_000)
    calibration, labels = await watch(640, settings)
    decision = calibration.decide("", settings)
    assert decision.state == ("serving" if judge else "exact only"), decision.reason
    assert {label.source for label in labels} == ({"judge", "exact"} if judge else {"embedding", "exact"})


async def test_without_room_at_the_judge_nothing_is_compared_not_even_what_is_easy() -> None:
    settings = CacheSettings(judge="fair", judge_calls_per_hour=3)
    _, labels = await watch(64, settings)
    assert len(labels) < 40


async def test_answers_in_other_words_are_put_to_the_judge_as_a_call_of_governors_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backend.cache.semantic.judge.secrets.token_hex", lambda _: "f00d")
    verdict = '{"mark": "f00d", "same": true}'
    place = await open_place(
        "Use the link.", "Click what we sent you.", verdict, threshold_mode="calibrated", judge="j"
    )
    await place.ask(RESET)
    await place.ask(PARAPHRASE)
    assert [(label.same, label.source) for label in place.labels] == [(True, "judge")]
    assert place.labels[0].features is not None
    own = [entry for entry in place.scene.ledger.recorded if entry.origin != "user"]
    assert [(entry.origin, entry.tenant, entry.model, entry.cache_kind) for entry in own] == [
        ("judge", "tenant", "j", "bypass")
    ]
    assert own[0].cost_nusd is not None
    assert place.scene.client.bodies[-1]["temperature"] == 0


async def test_a_judge_that_says_nothing_clear_makes_no_label() -> None:
    place = await open_place("Use the link.", "Click it.", "perhaps", threshold_mode="calibrated", judge="local")
    await place.ask(RESET)
    await place.ask(PARAPHRASE)
    assert place.labels == []
    assert place.scene.ledger.recorded[-1].deployment == "local"


async def test_the_judge_is_not_asked_where_the_text_settles_it() -> None:
    place = await open_place("It costs 5 dollars.", "It costs 7 dollars.", threshold_mode="calibrated", judge="local")
    await place.ask(RESET)
    await place.ask(PARAPHRASE)
    assert [(label.same, label.source) for label in place.labels] == [(False, "numeric")]
    assert {entry.origin for entry in place.scene.ledger.recorded} == {"user"}
