"""What cannot be read is said where it would stand; the rest of the page stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db.bounded import ReadTooSlow
from tests.pages.conftest import LAST_WEEK, Visit
from tests.pages.test_every_page import PAGES, SCOPED


def fail(*_arguments: Any, **_options: Any) -> Any:
    raise ReadTooSlow("stopped after 10000 ms")


def test_a_card_fails_alone(monkeypatch: pytest.MonkeyPatch, visit: Visit, ledgers: Callable[[str], Path]) -> None:
    monkeypatch.setattr("backend.reports.attention.read_attention", fail)
    app = visit("pages/observe/overview.py", ledgers("small"), range=LAST_WEEK)
    assert not app.exception
    assert [each.value for each in app.warning] == [
        "Needs attention: it took too long. A shorter range or fewer filters will do."
    ]
    assert len(app.metric) == 5
    assert len(app.get("plotly_chart")) == 6


@pytest.mark.parametrize("path", PAGES)
def test_a_page_without_its_database_says_so_and_keeps_its_frame(
    path: str, monkeypatch: pytest.MonkeyPatch, visit: Visit
) -> None:
    monkeypatch.setenv("GOVERNOR_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/governor")
    app = visit(path)
    assert not app.exception
    assert [each.value for each in app.title] == [PAGES[path]]
    said = {each.value.partition(": ")[2] for each in app.warning}
    assert said == {"the database cannot be reached."}
    assert any(button.label == "Try again" for button in app.button)


@pytest.mark.parametrize("path", SCOPED)
def test_nonsense_in_the_address_shows_the_default_view(
    path: str, visit: Visit, ledgers: Callable[[str], Path]
) -> None:
    app = visit(path, ledgers("small"), range="yesterday", group="colour", compare="maybe", measure="x", answers="y")
    assert not app.exception
    assert not app.warning
