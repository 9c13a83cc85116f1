"""What a visitor meets first: the frame around every page, the sign-in, nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from db.engine import connect
from tests.browser.conftest import Console, Open, Start, Visitor
from tests.pages.test_every_page import PAGES

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"


def newest_call(data: Path) -> str:
    with connect(f"sqlite:///{data / 'governor.db'}").connect() as connection:
        return str(connection.exec_driver_sql("SELECT id FROM calls ORDER BY started_at DESC LIMIT 1").scalar_one())


def assert_framed_call(visitor: Visitor, console: Console, call_id: str) -> None:
    """The page of the link with its frame, its call in the drawer, and no other dialog."""
    page = visitor.page
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_text(call_id, exact=True)).to_be_visible()
    expect(drawer).to_have_count(1)
    expect(page.get_by_text("Page not found")).to_have_count(0)
    assert page.get_by_test_id("stSidebarNavLink").count() == len(PAGES)
    assert page.get_by_role("heading", level=1).inner_text() == "Calls"
    assert page.url == f"{console.url}/calls?call={call_id}"


def test_a_deep_link_as_the_first_request_of_a_server_shows_the_frame(
    start: Start, visit: Open, full_data: Path
) -> None:
    call_id, console = newest_call(full_data), start(full_data)
    visitor = visit(f"{console.url}/calls?call={call_id}")
    assert_framed_call(visitor, console, call_id)
    assert visitor.page.get_by_text("No login: this machine only").is_visible()
    visitor.page.keyboard.press("Escape")
    expect(visitor.page.get_by_role("dialog")).to_have_count(0)
    expect(visitor.page).to_have_url(f"{console.url}/calls")


def test_a_deep_link_as_the_first_request_asks_for_the_password_and_then_leads_there(
    start: Start, visit: Open, full_data: Path
) -> None:
    call_id, console = newest_call(full_data), start(full_data, GOVERNOR_CONSOLE_PASSWORD=PASSWORD)
    visitor = visit()
    page = visitor.page
    page.goto(f"{console.url}/calls?call={call_id}")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That is not the password.")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Your name").fill("Ana")
    page.get_by_role("button", name="Sign in").click()
    visitor.settle()
    assert_framed_call(visitor, console, call_id)
    expect(page.get_by_test_id("stSidebar").get_by_text("Ana")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    page.goto(f"{console.url}/keys")
    expect(page).to_have_url(re.compile("/login"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_is_drawn_without_asking_any_other_host(
    start: Start, visit: Open, full_data: Path, *, dark: bool
) -> None:
    console = start(full_data)
    visitor = visit(console.url, dark=dark)
    for title in PAGES.values():
        visitor.open_page(title)
        assert visitor.page.get_by_role("alert").count() == 0, visitor.page.get_by_role("alert").all_inner_texts()
    assert visitor.hosts == {f"127.0.0.1:{console.port}"}
    assert visitor.alarms == []


def test_the_range_and_the_filters_follow_from_page_to_page_and_back(
    start: Start, visit: Open, full_data: Path
) -> None:
    visitor = visit(f"{start(full_data).url}/?range=3h&model=gpt-4o")
    page = visitor.page
    visitor.open_page("Latency")
    visitor.open_page("Keys")
    visitor.open_page("Calls")
    expect(page).to_have_url(re.compile(r"/calls\?range=3h&model=gpt-4o$"))
    page.get_by_role("button", name="Model: gpt-4o").click()
    expect(page).to_have_url(re.compile(r"/calls\?range=3h$"))
    visitor.settle()
    page.go_back()
    expect(page.get_by_role("button", name="Model: gpt-4o")).to_be_visible()


def test_dragging_over_a_chart_zooms_in_and_back_undoes_it(start: Start, visit: Open, full_data: Path) -> None:
    console = start(full_data)
    visitor = visit(console.url)
    chart = visitor.page.locator(".js-plotly-plot").first
    expect(chart).to_be_visible()
    box = chart.bounding_box()
    assert box is not None
    visitor.page.mouse.move(box["x"] + 300, box["y"] + 100)
    visitor.page.mouse.down()
    visitor.page.mouse.move(box["x"] + 500, box["y"] + 120, steps=5)
    visitor.page.mouse.up()
    expect(visitor.page).to_have_url(re.compile(r"range=\d{8}T\d{6}-\d{8}T\d{6}"))
    visitor.settle()
    visitor.page.go_back()
    expect(visitor.page).to_have_url(f"{console.url}/")
    visitor.settle()
    expect(visitor.page.get_by_role("radio", name="24h")).to_be_checked()
