"""Every page draws, whatever the size of the ledger behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import LAST_WEEK, Visit

PAGES = {
    "pages/observe/overview.py": "Overview",
    "pages/observe/calls.py": "Calls",
    "pages/observe/spend.py": "Spend",
    "pages/observe/latency.py": "Latency",
    "pages/tune/cache.py": "Cache",
    "pages/tune/engine.py": "Engine",
    "pages/observe/playground.py": "Playground",
    "pages/tune/deployments.py": "Deployments",
    "pages/tune/settings.py": "Settings",
    "pages/govern/changes.py": "Changes",
    "pages/govern/keys.py": "Keys",
    "pages/observe/batches.py": "Batches",
}
SCOPED = list(PAGES)[:5]
SIZES = ["empty", "small", pytest.param("million", marks=pytest.mark.slow)]


def assert_whole(app: AppTest, title: str) -> None:
    """The page is there with its frame, and nothing on it failed."""
    assert not app.exception, app.exception[0].stack_trace
    assert [each.value for each in app.title] == [title]
    assert not app.error, app.error[0].value
    assert not app.warning, app.warning[0].value
    assert "Updated" in app.sidebar.caption[0].value


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", PAGES)
def test_a_page_draws(path: str, size: str, visit: Visit, ledgers: Callable[[str], Path]) -> None:
    assert_whole(visit(path, ledgers(size)), PAGES[path])


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("path", SCOPED)
def test_a_page_draws_a_week_full_of_calls(path: str, size: str, visit: Visit, ledgers: Callable[[str], Path]) -> None:
    app = visit(path, ledgers(size), range=LAST_WEEK)
    assert_whole(app, PAGES[path])
    assert len(app.get("plotly_chart")) >= 1


@pytest.mark.parametrize("path", SCOPED)
@pytest.mark.parametrize("group", ["key_id", "user", "rule"])
def test_a_page_draws_by_every_kind_of_dimension_with_filters(
    path: str, group: str, visit: Visit, ledgers: Callable[[str], Path]
) -> None:
    app = visit(path, ledgers("small"), range=LAST_WEEK, group=group, model="gpt-4o", environment="production")
    assert_whole(app, PAGES[path])
    assert [button.label for button in app.button if "Model" in button.label] == ["Model: gpt\\-4o :material/close:"]


@pytest.mark.parametrize("path", SCOPED)
def test_an_empty_ledger_says_how_to_make_the_first_call(
    path: str, visit: Visit, ledgers: Callable[[str], Path]
) -> None:
    app = visit(path, ledgers("empty"))
    assert "No calls yet" in [each.value for each in app.subheader]
    assert "curl" in app.code[0].value


def test_an_empty_range_offers_the_newest_calls(visit: Visit, ledgers: Callable[[str], Path]) -> None:
    app = visit("pages/observe/calls.py", ledgers("small"), range="5m")
    assert "No calls in this range" in [each.value for each in app.subheader]
    next(button for button in app.button if button.label == "Show the newest calls").click().run()
    assert len(app.dataframe[0].value) > 0


def test_filters_that_nothing_passes_offer_to_go(visit: Visit, ledgers: Callable[[str], Path]) -> None:
    app = visit("pages/observe/calls.py", ledgers("small"), range=LAST_WEEK, model="no-such-model")
    next(button for button in app.button if button.label == "Remove all filters").click().run()
    assert len(app.dataframe[0].value) == 50
    assert "model" not in app.query_params
