"""The page Engine as people use it: add one, start it, call it, change it, see what the change brought."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from backend.actions import start_engine
from backend.settings.signature import Signature
from backend.settings.store import Change, apply_partial, current
from tests.browser.conftest import WAIT_MS, Open, Start, Visitor
from tests.engine.houses import QUICK, write_fake_python
from tests.faults.processes import Gateway

pytestmark = pytest.mark.browser


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway whose keeper launches fake engines."""
    found = Gateway(tmp_path, {"GOVERNOR_ENGINE_PYTHON": str(write_fake_python(tmp_path / "fake"))})
    found.start()
    yield found
    found.stop()


def give_reason(page: Page, act: str, reason: str) -> None:
    page.get_by_role("dialog").get_by_label("Why").fill(reason)
    page.keyboard.press("Tab")
    page.get_by_role("dialog").get_by_role("button", name=act, exact=True).click()


def expect_state(page: Page, state: str) -> None:
    expect(page.locator(".st-key-engine_state")).to_contain_text(state, timeout=WAIT_MS)


def add_engine(page: Page) -> None:
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill("local")
    page.keyboard.press("Tab")
    page.get_by_role("dialog").get_by_label("Model", exact=True).fill("fake/ok")
    page.keyboard.press("Tab")
    give_reason(page, "Apply", "A model of our own")
    expect_state(page, "stopped")


def set_batch(visitor: Visitor, size: int) -> None:
    page = visitor.page
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_role("dialog").get_by_label("Batch", exact=True).fill(str(size))
    page.keyboard.press("Tab")
    give_reason(page, "Apply", "More at once")


def test_an_engine_is_added_started_changed_and_the_change_is_measured(
    start: Start, visit: Open, gateway: Gateway
) -> None:
    console = start(gateway.data_dir, GOVERNOR_GATEWAY_PORT=str(gateway.port))
    apply_partial(console.engine, Change({"engine": QUICK}, Signature("ana", "no long waits")))
    visitor = visit(f"{console.url}/engine")
    page = visitor.page
    add_engine(page)
    page.get_by_role("button", name="Start", exact=True).click()
    give_reason(page, "Start", "Monday")
    expect_state(page, "ready")
    set_batch(visitor, 16)
    expect(page.get_by_text("Staged: max_num_seqs 128 → 16")).to_be_visible()
    page.locator(".st-key-engine_staged").get_by_role("button", name="Apply").click()
    give_reason(page, "Apply", "Less at once")
    expect(page.get_by_text("Staged:")).to_have_count(0, timeout=WAIT_MS)
    expect_state(page, "ready")
    page.get_by_text("History", exact=True).click()
    expect(page.get_by_text("The latest change, measured")).to_be_visible(timeout=WAIT_MS)
    assert current(console.engine).settings.engine.engines[0].max_num_seqs == 16
    assert "local" in {each.name for each in current(console.engine).settings.deployments}


def test_a_sweep_is_watched_and_its_sweet_spot_applied(start: Start, visit: Open, gateway: Gateway) -> None:
    console = start(gateway.data_dir, GOVERNOR_GATEWAY_PORT=str(gateway.port))
    by = Signature("ana", "to know")
    spec = {"name": "local", "model": "fake/ok"}
    apply_partial(console.engine, Change({"engine": {**QUICK, "engines": [spec]}}, by))
    start_engine(console.engine, "local", by)
    page = visit(f"{console.url}/engine?part=sweeps").page
    expect_state(page, "ready")
    page.get_by_label("Calls at once").fill("1, 2")
    page.get_by_label("Shape", exact=True).fill("8:4")
    page.get_by_label("Seconds a load").fill("1")
    page.get_by_label("Why").fill("How much can it take")
    page.get_by_role("button", name="Run sweep").click()
    expect(page.get_by_text("Throughput by calls at once")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator(".st-key-sweep_verdict")).to_contain_text("at once")
    page.locator(".st-key-sweep_verdict").get_by_role("button", name="Apply").click()
    give_reason(page, "Apply", "As measured")
    expect(page.get_by_text("is in force").first).to_be_visible()
    assert current(console.engine).settings.engine.engines[0].max_running in {1, 2}
    page.get_by_text("Course", exact=True).click()
    marks = page.locator(".js-plotly-plot .scatterlayer .points path")
    expect(marks.first).to_be_attached(timeout=WAIT_MS)
