"""What only a gateway knows: entries, a look-up, purge; and the page without one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.pages.cache_samples import PATH, FakeControl, Filled
from tests.pages.conftest import Visit


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    return Filled(tmp_path / "filled")


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
    st.cache_resource.clear()
    app.query_params["part"] = "entries"
    return app.run()


def test_the_entries_are_what_the_gateway_says(entries: AppTest, control: FakeControl) -> None:
    figures = {each.label: each.value for each in entries.metric}
    assert (figures["Exact entries"], figures["Questions kept"], figures["Embedder"]) == ("3", "12", "built-in")
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
    entries.button(key="purge_ask").click().run()
    assert len([path for path, _, _ in control.asked if path.endswith("purge")]) == 1


def test_without_a_gateway_the_entries_say_what_to_start(visit: Visit, filled: Filled) -> None:
    app = visit(PATH, filled.folder, part="entries")
    assert any("No gateway answers" in each.value.replace("\\", "") for each in app.markdown)
    assert "governor gateway" in [each.value for each in app.code]
