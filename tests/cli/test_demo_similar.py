"""Similar questions of the demo: observed first, served as the gateway's own calibration allows, rarely wrong."""

from __future__ import annotations

from random import Random

import orjson
import pytest

from backend.call import Entry
from backend.cli.demo_similar import SimilarQuestions
from backend.settings.knobs import CacheSettings

QUESTIONS = 4_000


def make_entry(number: int) -> Entry:
    return Entry(
        "w",
        "chat.completions",
        started_at=number,
        tenant="t",
        model="m",
        feature=str(number % 4),
        status="ok",
        latency_ms=500.0,
    )


@pytest.fixture(scope="module")
def played() -> tuple[SimilarQuestions, list[tuple[Entry, bool]]]:
    similar = SimilarQuestions(Random(7), CacheSettings(), "verifier-1")
    found = []
    for number in range(QUESTIONS):
        earlier, entry = make_entry(number), make_entry(number)
        similar.ask(earlier)
        served = similar.meet(entry, earlier)
        if not served:
            similar.compare(entry)
        found.append((entry, served))
    return similar, found


def test_nothing_is_served_before_a_threshold_and_only_above_it_after(
    played: tuple[SimilarQuestions, list[tuple[Entry, bool]]],
) -> None:
    _, found = played
    first = next(place for place, (_, served) in enumerate(found) if served)
    assert 500 < first < QUESTIONS - 500
    for entry, served in found:
        if served:
            assert entry.similarity_threshold is not None
            assert (entry.cache_probability or 0.0) >= entry.similarity_threshold
    assert any(entry.cache_probability == 0 for entry, _ in found)


def test_labels_say_the_truth_and_how_they_were_picked(
    played: tuple[SimilarQuestions, list[tuple[Entry, bool]]],
) -> None:
    similar, found = played
    served = {entry.id for entry, hit in found if hit}
    machine = [label for label in similar.labels if label.source != "human"]
    assert not served & {label.id for label in machine}
    assert {label.id for label in similar.labels if label.source == "human"} <= served
    assert {label.propensity for label in machine} == {1.0, 0.05}
    assert all(label.probability >= 0.05 and label.verifier == "verifier-1" for label in machine)
    sure = [label.same for label in machine if label.probability >= 0.995]
    assert sure.count(False) < 0.01 * len(sure)
    doubtful = [label.same for label in machine if label.probability < 0.5]
    assert doubtful.count(False) > 0.5 * len(doubtful)


def test_what_is_near_in_truth_has_the_answer_of_the_other() -> None:
    similar = SimilarQuestions(Random(1), CacheSettings(), "verifier-1")
    answers = {True: 0, False: 0}
    for number in range(400):
        earlier, entry = make_entry(number), make_entry(number)
        similar.ask(earlier)
        similar.meet(entry, earlier)
        similar.compare(entry)
        bodies = [similar.write_bodies(each) for each in (earlier, entry)]
        before, now = [orjson.loads(body[1])["choices"][0]["message"]["content"] for body in bodies if body]
        label = similar.labels[-1] if similar.labels and similar.labels[-1].id == entry.id else None
        if label is not None:
            assert (before == now) is label.same
            answers[label.same] += 1
    assert min(answers.values()) > 20
