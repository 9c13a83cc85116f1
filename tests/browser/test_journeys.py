"""What people come for: a call in full, a knob changed and taken back, a key made and revoked, a model asked."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from backend.actions import KeyDraft, Signature, create_key, list_changes, list_keys
from backend.settings.knobs.deployments import simulated
from backend.settings.store import Change, apply_partial, current, history, save
from tests.browser.conftest import Open, Start
from tests.faults.processes import Gateway

pytestmark = pytest.mark.browser


def fill(page: Page, label: str, text: str) -> None:
    """Type into a field and leave it."""
    field = page.get_by_label(label, exact=True)
    field.fill(text)
    field.press("Tab")


def wait_until(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Returns as soon as it holds; fails after the time given."""
    ends_at = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < ends_at
        time.sleep(0.1)


def test_a_line_of_the_list_opens_its_call(start: Start, visit: Open, full_data: Path) -> None:
    visitor = visit(f"{start(full_data).url}/calls")
    visitor.click_cell(row=1)
    expect(visitor.page).to_have_url(re.compile(r"\?call=[0-9a-f-]{36}$"))
    drawer = visitor.page.get_by_role("dialog")
    for tab, text in {
        "Decisions": "Rule default",
        "Timing": "Total",
        "Cost": "Recorded cost",
        "Raw": "started_at",
    }.items():
        drawer.get_by_role("tab", name=tab).click()
        expect(drawer.get_by_text(text).first).to_be_visible()


def test_a_knob_is_changed_with_a_reason_and_taken_back(start: Start, visit: Open) -> None:
    console = start()
    visitor = visit(f"{console.url}/settings?section=cache")
    page = visitor.page
    fill(page, "Time to live", "120")
    page.get_by_role("button", name="Review and apply").click()
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_role("dialog").get_by_text("A change needs a reason.")).to_be_visible()
    fill(page, "Why", "Prices change today")
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_text("Settings version 1 is in force.").first).to_be_visible()
    made = current(console.engine)
    assert (made.version, made.actor, made.reason) == (1, "local", "Prices change today")
    assert made.settings.cache.ttl_s == 120
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Undone: version 2 has the values of version 0.").first).to_be_visible()
    assert current(console.engine).settings.cache.ttl_s == 3600
    expect(page.get_by_label("Time to live", exact=True)).to_have_value("3600")


def test_a_change_based_on_an_older_version_is_refused_with_who_made_the_newer(start: Start, visit: Open) -> None:
    console = start()
    page = visit(f"{console.url}/settings?section=cache").page
    fill(page, "Time to live", "120")
    page.get_by_role("button", name="Review and apply").click()
    fill(page, "Why", "Mine")
    document = current(console.engine).settings.model_dump(mode="json")
    document["cache"]["ttl_s"] = 60
    save(console.engine, Change(document, Signature("ben", "Faster than you")))
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_role("dialog").get_by_text("ben saved version 1")).to_be_visible()
    assert [line.actor for line in history(console.engine)] == ["ben"]


def test_a_knob_out_of_bounds_names_itself(start: Start, visit: Open) -> None:
    page = visit(f"{start().url}/settings?section=routing").page
    fill(page, "Default fallbacks", "nobody")
    expect(page.get_by_text("default fallbacks names unknown deployments: nobody")).to_be_visible()
    expect(page.get_by_role("button", name="Review and apply")).to_have_count(0)


def test_a_key_is_made_shown_once_and_revoked_by_its_name(start: Start, visit: Open) -> None:
    console = start()
    visitor = visit(f"{console.url}/keys")
    page = visitor.page
    page.get_by_role("button", name="Create key").click()
    fill(page, "Name", "search service")
    fill(page, "Why", "A new service")
    page.get_by_role("button", name="Create", exact=True).click()
    shown = page.get_by_role("dialog").locator("code")
    expect(shown).to_have_text(re.compile(r"^gov-\w{12}-\w{43}$"))
    credential = shown.inner_text()
    page.get_by_role("button", name="I have copied it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert credential not in page.content()
    assert [line.state() for line in list_keys(console.engine)] == ["valid"]
    visitor.click_cell(row=0)
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_text("That is not the name of the key.")).to_be_visible()
    fill(page, "Name of the key", "search service")
    fill(page, "Why", "Leaked")
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_text("Key search service is revoked.").first).to_be_visible()
    assert [line.state() for line in list_keys(console.engine)] == ["revoked"]
    assert [act.reason for act in list_changes(console.engine)] == ["Leaked", "A new service"]


def test_two_models_answer_side_by_side_and_the_cache_the_second_time(
    start: Start, visit: Open, gateway: Gateway
) -> None:
    console = start(gateway.data_dir, GOVERNOR_GATEWAY_PORT=str(gateway.port))
    visitor = visit(f"{console.url}/playground")
    page = visitor.page
    for cache in ("cache MISS", "cache HIT"):
        page.get_by_placeholder("Ask something").fill("What is a governor?")
        page.keyboard.press("Enter")
        expect(page.get_by_text(cache)).to_have_count(2)
        expect(page.get_by_role("link", name="The call")).to_have_count(2)
    assert page.get_by_text("simulated gpt-4o").count() == 2
    assert "unpriced" not in page.content()
    page.get_by_role("link", name="The call").first.click()
    expect(page.get_by_role("dialog").get_by_text("cache exact")).to_be_visible()
    assert len(gateway.export()) == 4


def test_the_key_typed_in_the_playground_stays_out_of_the_address(start: Start, visit: Open, gateway: Gateway) -> None:
    console = start(gateway.data_dir, GOVERNOR_GATEWAY_PORT=str(gateway.port))
    secret = (gateway.data_dir / "secret.key").read_bytes().strip()
    made = create_key(console.engine, secret, KeyDraft("tester", scopes=("call", "admin")), Signature("ana", "test"))
    page = visit(f"{console.url}/playground").page
    page.get_by_placeholder("Ask something").fill("Hello")
    page.keyboard.press("Enter")
    expect(page.get_by_text("401").first).to_be_visible()
    page.get_by_label("Key", exact=True).press_sequentially(made.credential, delay=20)
    page.get_by_placeholder("Ask something").fill("Hello")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="The call")).to_have_count(2)
    assert "gov-" not in page.url
    assert {call["key_id"] for call in gateway.export() if call["status"] == "ok"} == {made.id}


def test_an_answer_is_stopped_and_a_key_typed_meanwhile_stays_whole(
    start: Start, visit: Open, gateway: Gateway
) -> None:
    console = start(gateway.data_dir, GOVERNOR_GATEWAY_PORT=str(gateway.port))
    slow = simulated("slow", ttft_ms=300.0, tokens_per_s=4.0).model_dump(mode="json")
    apply_partial(console.engine, Change({"deployments": [slow]}, Signature("ana", "slow")))
    page = visit(f"{console.url}/playground").page
    page.get_by_placeholder("Ask something").fill("Hello")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop", exact=True).click()
    key = page.get_by_label("Key", exact=True)
    key.press_sequentially("gov-typed-while-the-answer-stops", delay=20)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)
    expect(key).to_have_value("gov-typed-while-the-answer-stops")
    wait_until(lambda: [call["status"] for call in gateway.export()] == ["cancelled"])


def test_a_deployment_is_added_tried_and_removed(start: Start, visit: Open, gateway: Gateway) -> None:
    console = start(gateway.data_dir, GOVERNOR_GATEWAY_PORT=str(gateway.port))
    visitor = visit(f"{console.url}/deployments")
    page = visitor.page
    page.get_by_role("button", name="Add", exact=True).click()
    fill(page, "Name", "second")
    fill(page, "Model", "gpt-4o-mini")
    page.get_by_role("combobox", name="Provider").click()
    page.get_by_role("option", name="simulated", exact=True).click()
    fill(page, "Why", "More room")
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_text("Settings version 1 is in force.").first).to_be_visible()
    last = len(current(console.engine).settings.deployments) - 1
    assert current(console.engine).settings.deployments[last].name == "second"
    visitor.click_cell(row=last)
    page.get_by_text("Try", exact=True).click()
    page.get_by_role("button", name="Send one call").click()
    expect(page.get_by_role("dialog").get_by_text("second", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="The call")).to_be_visible()
    assert {call["deployment"] for call in gateway.export()} == {"second"}


def test_a_version_is_rolled_back_from_the_list_of_changes(start: Start, visit: Open) -> None:
    console = start()
    document = current(console.engine).settings.model_dump(mode="json")
    for ttl_s in (100, 200):
        document["cache"]["ttl_s"] = ttl_s
        save(console.engine, Change(document, Signature("ana", f"{ttl_s} seconds")))
    page = visit(f"{console.url}/changes?version=1").page
    page.get_by_role("button", name="Roll back to version 1").click()
    fill(page, "Why", "It was better")
    page.get_by_role("button", name="Roll back", exact=True).click()
    expect(page.get_by_text("Rolled back: version 3").first).to_be_visible()
    assert current(console.engine).settings.cache.ttl_s == 100


def test_the_calls_that_pass_the_filters_are_downloaded(
    start: Start, visit: Open, full_data: Path, tmp_path: Path
) -> None:
    page = visit(f"{start(full_data).url}/calls?model=gpt-4o").page
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV").click()
    saved = tmp_path / "calls.csv"
    waiting.value.save_as(saved)
    with saved.open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert rows
    assert {row["model"] for row in rows} == {"gpt-4o"}
    shown = page.get_by_text(re.compile(r"^1–50 of [\d,]+$")).inner_text()
    assert len(rows) == int(shown.rpartition(" ")[2].replace(",", ""))
