"""The page Cache: every part in every state, the slider, the reviews."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from backend.actions import list_changes
from db.bounded import ReadTooSlow
from db.cache_labels import read_labels
from db.engine import reading
from tests.pages.cache_samples import PATH, Filled
from tests.pages.conftest import LAST_WEEK, Visit

PARTS = ["hits", "threshold", "evidence", "reviews", "entries"]


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    return Filled(tmp_path / "filled")


def badge(app: AppTest) -> str:
    return next(each.value for each in app.markdown if "-badge[" in each.value)


def press(app: AppTest, key: str) -> AppTest:
    return app.button(key=key).click().run()


@pytest.mark.parametrize("part", PARTS)
def test_every_part_draws(part: str, visit: Visit, filled: Filled) -> None:
    filled.switch_on()
    app = visit(PATH, filled.folder, part=part)
    assert not app.exception
    assert not app.warning
    assert [each.label for each in app.metric][:6] == [
        "Exact hits",
        "Semantic hits",
        "Coalesced",
        "Money saved",
        "Tokens saved",
        "Waiting saved",
    ]


@pytest.mark.parametrize("part", PARTS)
def test_every_part_draws_without_one_comparison(part: str, visit: Visit, ledgers: Callable[[str], Path]) -> None:
    app = visit(PATH, ledgers("small"), part=part, range=LAST_WEEK, model="gpt-4o", user="nobody-1")
    assert not app.exception
    app = visit(PATH, ledgers("small"), part=part, range=LAST_WEEK)
    assert not app.exception
    assert not app.warning


@pytest.mark.parametrize(
    ("labels", "state"), [(0, "Observing"), (57, "Observing"), (260, "Exact hits only"), (1_500, "Serving")]
)
def test_the_state_is_named_with_its_reason(labels: int, state: str, visit: Visit, tmp_path: Path) -> None:
    filled = Filled(tmp_path / "filled", labels=labels)
    filled.switch_on()
    app = visit(PATH, filled.folder)
    assert state in badge(app)
    missing = [each.proto.text for each in app.get("progress")]
    assert missing == ([f"{labels} of 200 labels; {200 - labels} more before anything can be served"] * (labels < 200))


def test_switched_off_it_offers_to_begin_observing(visit: Visit, filled: Filled) -> None:
    app = visit(PATH, filled.folder)
    assert "Semantic cache off" in badge(app)
    app = press(app, "semantic_on")
    assert any("cache.semantic_enabled" in str(each.value.to_dict()) for each in app.dataframe)


def test_the_slider_says_what_a_threshold_would_do(visit: Visit, filled: Filled) -> None:
    app = visit(PATH, filled.folder, part="threshold")
    slider = app.select_slider[0]
    slider.set_value(0.5).run()
    low = {each.label: each.value for each in app.metric}
    app.select_slider[0].set_value(0.98).run()
    high = {each.label: each.value for each in app.metric}
    assert (low["Predicted hit rate"], high["Predicted hit rate"]) == ("73.3%", "20.0%")
    assert low["Wrong among hits"] == "—"
    assert app.button(key="threshold_manual").label == "Set 0.98 by hand"


def test_a_threshold_set_by_hand_is_reviewed_before_it_is_saved(visit: Visit, filled: Filled) -> None:
    app = visit(PATH, filled.folder, part="threshold")
    app.select_slider[0].set_value(0.5).run()
    app = press(app, "threshold_manual")
    changes = app.dataframe[0].value
    assert changes["path"].tolist() == ["cache.threshold_mode", "cache.manual_threshold"]
    assert changes["after"].tolist() == ["manual", "0.5"]
    assert list_changes(filled.engine) == []


def test_another_tolerance_shows_its_decision_and_is_reviewed(visit: Visit, tmp_path: Path) -> None:
    filled = Filled(tmp_path / "filled", labels=260)
    filled.switch_on()
    app = visit(PATH, filled.folder, part="threshold")
    assert any("exact only" in each.value for each in app.caption)
    app.number_input[0].set_value(5.0).run()
    assert any("serving" in each.value for each in app.caption)
    app = press(app, "threshold_calibrated")
    assert app.dataframe[0].value["path"].tolist() == ["cache.max_false_hit_rate"]


@pytest.mark.parametrize(("same", "word"), [(True, "good"), (False, "bad")])
def test_a_verdict_is_kept_with_who_gave_it(same: bool, word: str, visit: Visit, filled: Filled) -> None:
    app = visit(PATH, filled.folder, part="reviews")
    app = press(app, f"review_{same}_call-00074")
    with reading(filled.engine) as connection:
        (label,) = read_labels(connection)
    assert (label.id, label.same, label.source, label.actor) == ("call-00074", same, "human", "local")
    assert [act.action for act in list_changes(filled.engine)] == ["cache.review"]
    assert f"Kept: a {word} hit." in [each.value for each in app.toast]
    assert not [each for each in app.button if each.key == f"review_{same}_call-00074"]


def test_older_pairs_follow_on_the_next_page(visit: Visit, filled: Filled) -> None:
    app = visit(PATH, filled.folder, part="reviews")
    shown = {each.key for each in app.button if each.key and each.key.startswith("review_True")}
    app = press(app, "reviews_older")
    older = {each.key for each in app.button if each.key and each.key.startswith("review_True")}
    assert (len(shown), len(older), shown & older) == (10, 5, set())
    app = press(app, "reviews_newest")
    assert {each.key for each in app.button if each.key and each.key.startswith("review_True")} == shown


def test_a_slow_database_leaves_the_rest_of_the_page(
    monkeypatch: pytest.MonkeyPatch, visit: Visit, filled: Filled
) -> None:
    def fail(*_arguments: Any, **_options: Any) -> Any:
        raise ReadTooSlow("stopped after 10000 ms")

    monkeypatch.setattr("pages.components.cache_evidence.read_nearness", fail)
    app = visit(PATH, filled.folder)
    assert [each.value.partition(":")[0] for each in app.warning] == ["Similarity", "Probability"]
    assert len(app.metric) == 6
    assert len(app.get("plotly_chart")) == 1
