"""Made-up traffic: the same for the same seed, in order, and consistent to the nano-dollar."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from backend.call import Entry
from backend.cli import demo_arrivals
from backend.cli.demo_cast import FAILING, FEATURES, UNPRICED_MODEL
from backend.cli.demo_traffic import Traffic, entries
from backend.pricing.cost import cost_of
from backend.pricing.prices import PriceBook
from backend.pricing.seed import seed_book

END_AT = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp() * 1000)
START_AT = END_AT - 14 * 86_400_000
COUNT = 6000


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return seed_book()


@pytest.fixture(scope="module")
def made(book: PriceBook) -> list[Entry]:
    return list(entries(COUNT, START_AT, END_AT, seed=3, book=book))


def columns(entry: Entry) -> tuple[object, ...]:
    return (entry.id, entry.started_at, entry.user, entry.model, entry.cost_nusd, entry.status, entry.latency_ms)


def test_the_same_seed_makes_the_same_calls(made: list[Entry], book: PriceBook) -> None:
    again = entries(COUNT, START_AT, END_AT, seed=3, book=book)
    assert [columns(each) for each in made] == [columns(each) for each in again]
    other = entries(COUNT, START_AT, END_AT, seed=4, book=book)
    assert [columns(each) for each in made] != [columns(each) for each in other]


def test_calls_come_in_order_within_their_time(made: list[Entry]) -> None:
    times = [each.started_at for each in made]
    assert len(made) == COUNT == len({each.id for each in made})
    assert times == sorted(times)
    assert times[0] >= START_AT
    assert times[-1] < END_AT


def test_days_are_busier_than_nights_and_weekdays_than_weekends(made: list[Entry]) -> None:
    moments = [datetime.fromtimestamp(each.started_at / 1000, UTC) for each in made]
    by_hour = Counter(moment.hour for moment in moments)
    assert by_hour[11] > 2 * by_hour[3]
    weekend = sum(moment.weekday() >= 5 for moment in moments)
    assert weekend < COUNT / 5


def test_every_call_is_closed_and_nobody_waits_for_it(made: list[Entry]) -> None:
    assert "open" not in {each.state for each in made}
    assert all(attempt.state != "open" for each in made for attempt in each.tries)
    assert all(each.attempts == len(each.tries) for each in made)


def test_every_kind_of_outcome_occurs(made: list[Entry]) -> None:
    assert {each.status for each in made} == {"ok", "cancelled", "failed", "refused"}
    assert {each.cache_kind for each in made} == {"bypass", "miss", "exact", "coalesced", None}
    assert {each.feature for each in made} == {each.name for each in FEATURES}
    assert {each.provider for each in made} == {"simulated", None}
    assert max(each.attempts for each in made) == 2
    assert len({each.user for each in made}) > 50


def test_costs_are_those_of_the_price_in_force(made: list[Entry]) -> None:
    for each in made:
        if each.state in {"settled", "estimated"} and each.tries and each.usage_read is not None:
            assert each.cost_nusd == cost_of(each.usage_read, each.price).total_nusd
        elif each.state == "failed":
            assert each.cost_nusd == 0


def test_a_model_nobody_priced_costs_an_unknown_amount(made: list[Entry]) -> None:
    unpriced = [each for each in made if each.model == UNPRICED_MODEL and each.status == "ok" and each.tries]
    assert unpriced
    assert {each.cost_nusd for each in unpriced} == {None}


def test_the_cache_begins_with_the_second_version(made: list[Entry]) -> None:
    middle = (START_AT + END_AT) // 2
    by_id = {each.id: each for each in made}
    for each in made:
        assert each.settings_version == (2 if each.started_at >= middle else 1)
        if each.cache_kind in {"exact", "semantic", "coalesced"}:
            source = by_id[str(each.source_call_id)]
            assert each.settings_version == 2
            assert each.cost_nusd == 0
            assert source.started_at < each.started_at
            assert each.usage_read == source.usage_read


def test_a_deployment_has_a_bad_hour(book: PriceBook) -> None:
    many = entries(20_000, END_AT - 3 * 86_400_000, END_AT, seed=5, book=book)
    failed = [
        each for each in many for attempt in each.tries if attempt.state == "failed" and attempt.deployment == FAILING
    ]
    hours = Counter(each.started_at // 3_600_000 for each in failed)
    worst, count = hours.most_common(1)[0]
    assert count > 3 * max([seen for hour, seen in hours.items() if abs(hour - worst) > 2], default=0)


def test_without_recorded_traffic_it_is_drawn(monkeypatch: pytest.MonkeyPatch, book: PriceBook) -> None:
    monkeypatch.setattr(demo_arrivals, "_read_recorded", lambda: None)
    drawn = list(entries(500, START_AT, END_AT, book=book))
    assert len(drawn) == 500
    assert len({each.prompt_tokens for each in drawn}) > 100


def test_similar_questions_are_compared_once_the_cache_is_on(made: list[Entry]) -> None:
    middle = (START_AT + END_AT) // 2
    near = [each for each in made if each.cache_probability is not None]
    assert len(near) > 200
    assert min(each.started_at for each in near) >= middle
    by_id = {each.id: each for each in made}
    for each in near:
        source = by_id[str(each.source_call_id)]
        assert (source.feature, source.model) == (each.feature, each.model)
        assert source.started_at < each.started_at


def test_verdicts_come_with_the_calls_they_are_about(book: PriceBook) -> None:
    traffic = Traffic(3_000, START_AT, END_AT, seed=3, book=book)
    by_id = {each.id: each for each in traffic}
    assert len(traffic.labels) > 50
    for label in traffic.labels:
        assert by_id[label.id].cache_probability == label.probability
        assert by_id[label.id].source_call_id == label.source_call_id


def test_the_last_day_comes_with_bodies(book: PriceBook) -> None:
    traffic = list(Traffic(4_000, END_AT - 2 * 86_400_000, END_AT, seed=7, book=book))
    kept = [each for each in traffic if each.payload is not None]
    assert {each.endpoint for each in kept} == {"chat.completions"}
    assert min(each.started_at for each in kept) >= END_AT - 86_400_000
    asked = {each.id: json.loads(each.payload[0])["messages"][-1]["content"] for each in kept if each.payload}
    assert len(set(asked.values())) > 20


def test_a_moment_is_enough(book: PriceBook) -> None:
    assert len(list(entries(10, END_AT - 5, END_AT, book=book))) == 10
    assert list(entries(0, START_AT, END_AT, book=book)) == []
