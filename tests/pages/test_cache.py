"""The page Cache: every part in every state, the slider, the reviews, what only a gateway knows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from backend.actions import list_changes
from backend.settings.signature import Signature
from backend.settings.store import Change, apply_partial
from db.bounded import ReadTooSlow
from db.cache_labels import add_labels, read_labels, row_of
from db.engine import Engine, connect, reading, writing
from tests.ledger.samples import make_label
from tests.pages.conftest import LAST_WEEK, Visit, build_ledger
from tests.reports.cache_samples import make_hit, make_row
from tests.reports.ledgers import write_calls

PATH = "pages/tune/cache.py"
PARTS = ["hits", "threshold", "evidence", "reviews", "entries"]
ON = {"cache": {"semantic_enabled": True}}
NEAR: dict[str, Any] = {"cache_probability": 0.995, "similarity": 0.95, "source_call_id": "call-00000"}


class Filled:
    """A data folder with look-ups, hits and labels of the last hours."""

    def __init__(self, folder: Path, *, labels: int = 0) -> None:
        self.folder = build_ledger(folder, 0)
        self.engine: Engine = connect(f"sqlite:///{folder / 'governor.db'}")
        now = int(time.time() * 1000)
        rows = [make_row(number, cache_probability=0.9, similarity=0.93) for number in range(40)]
        rows += [make_hit(number, "exact") for number in range(40, 60)]
        rows += [make_hit(number, "semantic", **NEAR) for number in range(60, 75)]
        for row in rows:
            row["started_at"] = now - 7_200_000 + int(row["id"][-5:]) * 1_000
        write_calls(self.engine, rows)
        made = [make_label(f"label-{number}", at=now - 9_000, probability=0.99, share=1.0) for number in range(labels)]
        with writing(self.engine) as connection:
            add_labels(connection, [row_of(label, label.at) for label in made])

    def switch_on(self) -> None:
        apply_partial(self.engine, Change(ON, Signature("ana", "try it")))


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


def test_without_a_gateway_the_entries_say_what_to_start(visit: Visit, filled: Filled) -> None:
    app = visit(PATH, filled.folder, part="entries")
    assert any("No gateway answers" in each.value.replace("\\", "") for each in app.markdown)
    assert "governor gateway" in [each.value for each in app.code]


STATUS = {
    "exact": {"enabled": True, "store": "file of this machine", "entries": 3, "dropped": 0, "breaker": None},
    "semantic": {
        "enabled": True,
        "state": "semantic cache: ready",
        "mode": "embedded",
        "embedder": "minilm-int8",
        "entries": 12,
        "loaded": True,
        "damaged": 2,
        "dropped": 0,
        "decision": None,
        "partitions": [],
    },
}
NEAREST = {
    "call_id": "call-1",
    "question": "How do I leave?",
    "similarity": 0.97,
    "probability": 0.0,
    "gate": {"agrees": False, "findings": ["numbers differ: 3 / 4"]},
    "stored_at": 1,
    "expires_at": 2,
    "would_serve": False,
}
FOUND = {
    "exact": None,
    "exact_reason": "no live entry",
    "partition": "0f" * 16,
    "decision": {
        "state": "serving",
        "threshold": 0.98,
        "reason": "9 labels",
        "labels": 9,
        "bound": 0.1,
        "scope": "pooled",
    },
    "nearest": [
        NEAREST,
        {**NEAREST, "probability": 0.99, "gate": {"agrees": True, "findings": []}, "would_serve": True},
    ],
}
TOP = {
    "call_id": "call-1",
    "tenant": "local",
    "model": "m",
    "hits": 4,
    "stored_at": 1,
    "expires_at": 2,
    "cost_nusd": 1_000_000_000,
    "question": "How do I leave?",
}


class FakeControl(ThreadingHTTPServer):
    """The control endpoints of a gateway, with canned answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[tuple[str, Any, str]] = []
        self.replies: dict[str, Any] = {
            "/control/cache": STATUS,
            "/control/cache/lookup": FOUND,
            "/control/cache/top": {"entries": [TOP]},
            "/control/cache/purge": {"exact": 3, "semantic": 12, "dry_run": True},
        }


class _Answers(BaseHTTPRequestHandler):
    server: FakeControl

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _answer(self, body: Any) -> None:
        self.server.asked.append((self.path, body, self.headers["authorization"]))
        reply = self.server.replies[self.path]
        data = json.dumps(reply).encode()
        self.send_response(400 if "error" in reply else 200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


@pytest.fixture
def control() -> Iterator[FakeControl]:
    server = FakeControl()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def entries(visit: Visit, filled: Filled, control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    app = visit(PATH, filled.folder)
    monkeypatch.setenv("GOVERNOR_GATEWAY_PORT", str(control.server_port))
    import streamlit as st

    st.cache_resource.clear()
    app.query_params["part"] = "entries"
    return app.run()


def test_the_entries_are_what_the_gateway_says(entries: AppTest, control: FakeControl) -> None:
    figures = {each.label: each.value for each in entries.metric}
    assert (figures["Exact entries"], figures["Questions kept"], figures["Embedder"]) == ("3", "12", "minilm-int8")
    assert figures["Time to live"] == "60.0 min"
    assert any("damaged 2" in each.value for each in entries.caption)
    (top,) = [each.value for each in entries.dataframe]
    assert top[["question", "hits", "saved"]].to_numpy().tolist() == [["How do I leave?", 4, "$4.00"]]
    assert {credential.startswith("Bearer gov-console-") for _, _, credential in control.asked} == {True}


def test_a_look_up_shows_the_nearest_questions_and_the_gates_verdict(entries: AppTest, control: FakeControl) -> None:
    entries.text_area(key="lookup_question").set_value("How do I go?")
    entries.text_input(key="lookup_system").set_value("Be short.")
    next(each for each in entries.button if each.label == "Look up").click().run()
    body = next(body for path, body, _ in control.asked if path.endswith("lookup"))
    assert [each["content"] for each in body["messages"]] == ["Be short.", "How do I go?"]
    assert "Semantic hit" in " ".join(each.value for each in entries.markdown)
    nearest = entries.dataframe[0].value
    assert nearest["gate"].tolist() == ["numbers differ: 3 / 4", "agrees"]
    assert nearest["serve"].tolist() == [["not served"], ["served"]]


def test_a_refused_look_up_says_why_in_the_gateways_words(entries: AppTest, control: FakeControl) -> None:
    control.replies["/control/cache/lookup"] = {"error": {"message": "Say which tenant asks."}}
    entries.text_area(key="lookup_question").set_value("How do I go?")
    next(each for each in entries.button if each.label == "Look up").click().run()
    assert "Say which tenant asks" in entries.error[0].value.replace("\\", "")


def test_nothing_is_purged_before_it_is_counted_and_confirmed(entries: AppTest, control: FakeControl) -> None:
    entries.text_input(key="purge_model").set_value("m")
    next(each for each in entries.button if each.label == "Count").click().run()
    (body,) = [body for path, body, _ in control.asked if path.endswith("purge")]
    assert body == {"model": "m", "dry_run": True}
    assert any("3 exact entries and 12 questions would go" in each.value for each in entries.markdown)
    press(entries, "purge_ask")
    assert len([path for path, _, _ in control.asked if path.endswith("purge")]) == 1
