"""The page Batches as people use it: a job seen to its end, its calls, its results; another one cancelled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from backend.actions import list_changes
from backend.settings.signature import Signature
from backend.settings.store import Change, apply_partial
from tests.batch.jobs import jsonl, request
from tests.browser.conftest import WAIT_MS, Console, Open, Start
from tests.faults.processes import Gateway

pytestmark = pytest.mark.browser

MODEL = "gpt-4o-mini"


def begin(gateway: Gateway, folder: Path, lines: int) -> str:
    """A job of simulated calls, begun by the command line; its id."""
    body = {"model": MODEL, "max_tokens": 20}
    asked = [
        request(number, body={**body, "messages": [{"role": "user", "content": f"{number}?"}]})
        for number in range(lines)
    ]
    (file := folder / f"{lines}-questions.jsonl").write_bytes(jsonl(*asked))
    said = gateway.run_command("batch", "run", str(file), "--detach")
    found = re.search(r"batch_[0-9a-f]{32}", said)
    assert found is not None, said
    return found[0]


def expect_state(page: Page, state: str) -> None:
    expect(page.get_by_role("dialog").locator(".st-key-job_head")).to_contain_text(state, timeout=WAIT_MS)


@pytest.fixture
def console(start: Start, gateway: Gateway) -> Console:
    """A console before a gateway that does one line after the other."""
    found = start(gateway.data_dir, GOVERNOR_GATEWAY_PORT=str(gateway.port))
    apply_partial(found.engine, Change({"batch": {"max_parallel": 1}}, Signature("ana", "no haste")))
    return found


def test_a_job_is_seen_to_its_end_with_its_results_and_its_calls(
    console: Console, visit: Open, gateway: Gateway, tmp_path: Path
) -> None:
    visitor = visit(f"{console.url}/batches")
    page, drawer = visitor.page, visitor.page.get_by_role("dialog")
    expect(page.get_by_text("No batch jobs yet")).to_be_visible()
    job_id = begin(gateway, tmp_path, 12)
    expect(page.get_by_test_id("stDataFrame")).to_be_visible(timeout=WAIT_MS)
    visitor.click_cell(row=0)
    expect(page).to_have_url(re.compile(rf"\?job={job_id}$"))
    expect_state(page, "completed")
    expect(drawer.get_by_text("12 of 12 lines answered")).to_be_visible()
    with page.expect_download() as download:
        drawer.get_by_role("button", name="Results").click()
    assert download.value.path().read_bytes().count(b'"status_code":200') == 12
    drawer.get_by_role("link", name="Its calls").click()
    expect(page.get_by_text(re.compile("1–12 of 12"))).to_be_visible(timeout=WAIT_MS)
    assert visitor.alarms == []


def test_a_job_under_way_is_cancelled_with_a_reason(
    console: Console, visit: Open, gateway: Gateway, tmp_path: Path
) -> None:
    job_id = begin(gateway, tmp_path, 400)
    page = visit(f"{console.url}/batches?job={job_id}").page
    drawer = page.get_by_role("dialog")
    expect_state(page, "in progress")
    drawer.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_label("Why").fill("The wrong questions")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_text("The batch job ends.")).to_be_visible(timeout=WAIT_MS)
    expect_state(page, "cancelled")
    expect(drawer.get_by_role("button", name="Errors")).to_be_visible(timeout=WAIT_MS)
    act = list_changes(console.engine)[0]
    assert (act.action, act.subject, act.reason) == ("batch.cancel", job_id, "The wrong questions")
    assert "cancelled" in gateway.run_command("batch", "status", job_id)


def test_a_state_without_jobs_leads_back_to_all_of_them(start: Start, visit: Open) -> None:
    page = visit(f"{start().url}/batches?state=expired").page
    expect(page.get_by_text("No batch job is expired")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_text("No batch jobs yet")).to_be_visible()
    expect(page).to_have_url(re.compile("/batches$"))
