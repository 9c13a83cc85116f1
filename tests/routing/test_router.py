"""Who answers for a model: drawn by weight, without those who rest, with fallbacks in their order."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from backend.call import Call, Route
from backend.errors import ModelNotFound, NotFound
from backend.routing.router import Router, find_candidates
from backend.settings.knobs import Settings
from tests.fakes import call, deployment, settings

CHI_SQUARE_999 = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47}
"""Beyond this value a fair draw lands once in a thousand times, by degrees of freedom."""


def choose(document: Settings, model: str = "m", *resting: str, seed: int = 0) -> Route:
    dice = random.Random(seed)
    return Router(lambda name: name in resting, dice.random).choose(call(model), document)


def names(route: Route) -> list[str]:
    return [each.name for each in route.deployments]


def shares(*weights: int, **more: Any) -> Settings:
    return settings(*(deployment(f"d{n}", model="m", weight=w) for n, w in enumerate(weights)), **more)


@pytest.mark.parametrize("weights", [(1, 1), (70, 30), (1, 2, 3), (9, 1, 1, 1), (1, 0, 1), (10_000, 1, 100)])
def test_traffic_follows_the_weights(weights: tuple[int, ...]) -> None:
    draws, total = 20_000, sum(weights)
    router, document = Router(lambda _: False, random.Random(42).random), shares(*weights)
    routes = [router.choose(call("m"), document) for _ in range(draws)]
    seen = Counter(route.deployments[0].name for route in routes)
    expected = {f"d{n}": draws * w / total for n, w in enumerate(weights) if w}
    statistic = sum((seen[name] - wanted) ** 2 / wanted for name, wanted in expected.items())
    assert statistic < CHI_SQUARE_999[len(expected) - 1]
    assert set(seen) <= set(expected)
    for route in routes[:200]:
        assert route.propensity == weights[int(route.deployments[0].name[1:])] / total


def test_every_deployment_of_a_model_stands_in_for_the_first() -> None:
    route = choose(shares(1, 1, 1, 0))
    assert sorted(names(route)) == ["d0", "d1", "d2", "d3"]
    assert names(route)[-1] == "d3"


def test_one_deployment_alone_is_chosen_for_sure() -> None:
    route = choose(shares(1))
    assert (names(route), route.propensity, route.rule) == (["d0"], 1.0, "model:m")


def test_those_who_rest_are_left_out_and_the_reason_is_told() -> None:
    for seed in range(20):
        route = choose(shares(50, 25, 25), "m", "d0", seed=seed)
        assert names(route)[0] in ("d1", "d2")
        assert "d0" not in names(route)
        assert route.propensity == 0.5
        assert route.dropped == (("d0", "resting after failures"),)


def test_when_all_rest_all_are_tried_and_none_is_said_to_be_dropped() -> None:
    route = choose(shares(1, 1), "m", "d0", "d1")
    assert sorted(names(route)) == ["d0", "d1"]
    assert route.dropped == ()


def test_a_deployment_without_weight_answers_only_when_nobody_else_can() -> None:
    for seed in range(50):
        assert names(choose(shares(1, 0), seed=seed)) == ["d0", "d1"]
    assert names(choose(shares(1, 0), "m", "d0"))[0] == "d1"
    assert names(choose(shares(0)))[0] == "d0"


def test_a_route_of_the_settings_wins_over_who_declares_the_model() -> None:
    chosen = {"model": "m", "deployments": [{"name": "b", "weight": 1}], "fallbacks": ["c", "a"]}
    document = settings(deployment("a", model="m"), deployment("b"), deployment("c"), routing={"models": [chosen]})
    route = choose(document)
    assert (names(route), route.rule) == (["b", "c", "a"], "route:m")


def test_fallbacks_come_in_their_order_and_nobody_comes_twice() -> None:
    fallbacks = {"models": [{"model": "m", "fallbacks": ["d1", "x", "d0", "y"]}]}
    document = settings(
        *(deployment(f"d{n}", model="m") for n in range(2)), deployment("x"), deployment("y"), routing=fallbacks
    )
    for seed in range(10):
        found = names(choose(document, seed=seed))
        assert sorted(found[:2]) == ["d0", "d1"]
        assert found[2:] == ["x", "y"]


def test_default_fallbacks_stand_in_for_models_without_their_own() -> None:
    routing = {"models": [{"model": "n", "fallbacks": ["y"]}], "default_fallbacks": ["x"]}
    document = settings(*(deployment(name, model=name) for name in "mnxy"), routing=routing)
    assert names(choose(document, "m")) == ["m", "x"]
    assert names(choose(document, "n")) == ["n", "y"]


def test_a_route_with_nothing_but_fallbacks_starts_with_the_first() -> None:
    routing = {"models": [{"model": "new", "fallbacks": ["y", "x"]}]}
    document = settings(deployment("x", model="x"), deployment("y", model="y"), routing=routing)
    assert names(choose(document, "new")) == ["y", "x"]


def test_whoever_answers_to_any_model_answers_only_where_nobody_declares_it() -> None:
    document = settings(deployment("named", model="m"), deployment("any"))
    assert names(choose(document, "m")) == ["named"]
    route = choose(document, "unheard of")
    assert (names(route), route.rule) == (["any"], "any")


def test_a_model_nobody_answers_to_is_not_found() -> None:
    with pytest.raises(ModelNotFound) as caught:
        choose(settings(deployment(model="m")), "other")
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")


def test_a_caller_with_the_right_may_insist_on_a_deployment() -> None:
    asked = call("m")
    asked.deployment = "d1"
    router = Router(lambda _: True)
    assert names(router.choose(asked, shares(1, 0))) == ["d1"]
    asked.deployment = "d9"
    with pytest.raises(NotFound):
        router.choose(asked, shares(1, 0))


def test_new_settings_are_followed_at_once() -> None:
    router = Router(lambda _: False)
    for name in "abc":
        assert names(router.choose(call("m"), settings(deployment(name)))) == [name]


def test_names_of_models_do_not_fill_the_memory() -> None:
    router, document = Router(lambda _: False), settings(deployment("any"))
    for number in range(10_050):
        router.choose(call(f"model-{number}"), document)
    assert len(router._table) == 10_000
    assert names(router.choose(call("model-10049"), document)) == ["any"]


def test_candidates_of_a_model_do_not_depend_on_chance() -> None:
    document = shares(3, 0, 1)
    assert find_candidates("m", document) == find_candidates("m", document)
    assert [(d.name, weight) for d, weight in find_candidates("m", document).weighted] == [("d0", 3), ("d2", 1)]


def say(*texts: str, session: str | None = None) -> Call:
    roles = ("user", "assistant")
    asked = call(messages=[{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)])
    asked.session_id = session
    return asked


def place(asked: Call, document: Settings, *resting: str) -> str:
    return Router(lambda name: name in resting).choose(asked, document).deployments[0].name


def test_a_session_keeps_its_deployment_whatever_it_says() -> None:
    document = shares(1, 1, 1)
    for session in ("a", "b", "c"):
        assert len({place(say(f"question {n}", session=session), document) for n in range(30)}) == 1


def test_a_conversation_is_known_by_how_it_begins() -> None:
    document = shares(1, 1, 1, routing={"affinity": "conversation"})
    for begin in ("hello", "help me", "what now"):
        turns = (say(begin), say(begin, "yes?", "more"), say(begin, "no", "other", "so?", "end"))
        assert len({place(turn, document) for turn in turns}) == 1


@pytest.mark.parametrize("weights", [(1, 1), (70, 30), (1, 2, 3), (1, 0, 1)])
def test_sessions_follow_the_weights(weights: tuple[int, ...]) -> None:
    document, sessions, total = shares(*weights), 20_000, sum(weights)
    seen = Counter(place(say("hi", session=f"s{n}"), document) for n in range(sessions))
    expected = {f"d{n}": sessions * weight / total for n, weight in enumerate(weights) if weight}
    statistic = sum((seen[name] - wanted) ** 2 / wanted for name, wanted in expected.items())
    assert statistic < CHI_SQUARE_999[len(expected) - 1]
    assert set(seen) <= set(expected)


def test_only_the_sessions_of_a_resting_deployment_move_and_they_come_back() -> None:
    document = shares(1, 1, 1)
    sessions = [say("hi", session=f"s{n}") for n in range(300)]
    before = [place(asked, document) for asked in sessions]
    during = [place(asked, document, "d1") for asked in sessions]
    assert "d1" not in during
    assert all(then == now for then, now in zip(before, during, strict=True) if then != "d1")
    assert [place(asked, document) for asked in sessions] == before


def test_affinity_can_be_switched_off_and_always_says_its_share() -> None:
    free, kept = shares(1, 1, 1, routing={"affinity": "off"}), shares(1, 1, 1)
    assert len({place(say("hi", session="a"), free) for _ in range(100)}) == 3
    route = Router(lambda _: False).choose(say("hi", session="a"), kept)
    assert (route.propensity, route.reason) == (1 / 3, "kept with weight 33%")
