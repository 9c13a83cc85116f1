"""The cache in a browser: a threshold tried on recorded traffic and set, a hit judged, entries counted and purged."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from backend.actions import list_changes
from backend.settings.store import current
from db.cache_labels import add_labels, row_of
from db.engine import Engine, writing
from tests.browser.conftest import Open, Start, open_engine
from tests.fabricate import Plan, fabricate
from tests.faults.processes import Gateway
from tests.reports.cache_samples import make_label

pytestmark = pytest.mark.browser


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """The console's database with a day of calls and 300 labels."""
    found = open_engine(tmp_path / "data")
    now = int(time.time() * 1000)
    fabricate(found, Plan(calls=1_000, days=1, end_at=now))
    labels = [
        make_label(f"label-{number}", at=now - 60_000, probability=number / 300, same=number > 60, share=1.0)
        for number in range(300)
    ]
    with writing(found) as connection:
        add_labels(connection, [row_of(label, label.at) for label in labels])
    return found


def figure(page: Page, title: str) -> str:
    """The value of a key figure."""
    return page.get_by_test_id("stMetric").filter(has_text=title).get_by_test_id("stMetricValue").inner_text()


def test_a_threshold_is_tried_then_set_by_hand_with_a_reason(start: Start, visit: Open, engine: Engine) -> None:
    visitor = visit(f"{start().url}/cache?part=threshold")
    page = visitor.page
    slider = page.get_by_role("slider")
    before = figure(page, "Predicted hit rate")
    slider.focus()
    page.keyboard.press("Home")
    visitor.settle()
    expect(page.get_by_role("button", name="Set 0.5 by hand")).to_be_visible()
    lowest = figure(page, "Predicted hit rate")
    assert float(lowest.rstrip("%")) > float(before.rstrip("%"))
    assert re.fullmatch(r"[\d.]+%", figure(page, "Wrong among hits"))
    page.get_by_role("button", name="Set 0.5 by hand").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why", exact=True).fill("Tried on a day of traffic")
    dialog.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_text("Settings version 1 is in force.").first).to_be_visible()
    made = current(engine)
    assert (made.version, made.reason) == (1, "Tried on a day of traffic")
    assert (made.settings.cache.threshold_mode, made.settings.cache.manual_threshold) == ("manual", 0.5)
    expect(page.get_by_role("button", name="Set 0.5 by hand")).to_be_disabled()


def test_a_bad_hit_is_one_click(start: Start, visit: Open, engine: Engine) -> None:
    page = visit(f"{start().url}/cache?part=reviews").page
    bad = page.get_by_role("button", name="Bad")
    expect(bad).to_have_count(10)
    bad.first.click()
    expect(page.get_by_text("Kept: a bad hit.")).to_be_visible()
    (act,) = list_changes(engine)
    assert (act.action, act.changes["same"]) == ("cache.review", False)


def test_what_is_kept_is_counted_then_purged_with_a_reason(start: Start, visit: Open, gateway: Gateway) -> None:
    console = start(gateway.data_dir, GOVERNOR_GATEWAY_PORT=str(gateway.port))
    visitor = visit(f"{console.url}/playground")
    page = visitor.page
    page.get_by_placeholder("Ask something").fill("What is a governor?")
    page.keyboard.press("Enter")
    expect(page.get_by_text("cache MISS").first).to_be_visible()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)  # what is cut short is not kept
    gateway.export()
    visitor.go(f"{console.url}/cache?part=entries")
    page.get_by_role("button", name="Count").click()
    expect(page.get_by_text(re.compile(r"[12] exact entries and 0 questions would go"))).to_be_visible()
    page.get_by_role("button", name="Purge", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Type everything").fill("everything")
    dialog.get_by_label("Why", exact=True).fill("A new price list")
    dialog.get_by_role("button", name="Purge", exact=True).click()
    expect(page.get_by_text("Nothing is kept yet.")).to_be_visible()
    assert [(act.action, act.reason) for act in list_changes(console.engine)] == [("cache.purge", "A new price list")]
