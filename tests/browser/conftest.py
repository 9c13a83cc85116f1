"""A headless Chromium before consoles that run as processes of their own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, expect, sync_playwright

from db import schema
from db.engine import Engine, connect
from tests.fabricate import Plan, fabricate
from tests.faults.processes import Gateway, Process, answers_http, free_port

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 60_000
expect.set_options(timeout=20_000)
Start = Callable[..., "Console"]
Open = Callable[..., "Visitor"]


class Console(Process):
    """The console as ``streamlit run app.py``, on a data folder of its own."""

    def __init__(self, folder: Path, data_dir: Path, environment: dict[str, str]) -> None:
        self.port, self.data_dir = free_port(), data_dir
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)]
        own = {"GOVERNOR_DATA_DIR": str(data_dir), "GOVERNOR_GATEWAY_PORT": "1"}
        super().__init__(command, folder / "console.log", own | environment)

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def engine(self) -> Engine:
        """Its database."""
        return open_engine(self.data_dir)

    def is_ready(self) -> bool:
        """Whether it serves pages."""
        return answers_http(self.port, "/_stcore/health")


@dataclass
class Visitor:
    """A page of a browser, and everything suspicious that happened in it."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    alarms: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Remember every host that is asked, every script dialog, every breach of the content policy."""
        self.page.on("request", self._note_request)
        self.page.on("dialog", self._note_dialog)
        self.page.on("console", self._note_message)

    def go(self, url: str) -> None:
        """Open an address and wait until the page is drawn."""
        self.page.goto(url)
        self.settle()

    def settle(self) -> None:
        """Wait until the console has run to its end and drawn everything."""
        expect(self.page.locator("h1").first).to_be_visible(timeout=WAIT_MS)
        self.page.wait_for_timeout(250)
        expect(self.page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=WAIT_MS)
        expect(self.page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=WAIT_MS)

    def open_page(self, title: str) -> None:
        """Follow a link of the navigation."""
        self.page.get_by_test_id("stSidebarNav").get_by_role("link", name=title).click()
        expect(self.page.get_by_role("heading", name=title, exact=True, level=1)).to_be_visible(timeout=WAIT_MS)
        self.settle()

    def click_cell(self, row: int, column_px: int = 30) -> None:
        """Click into the first table, whose cells are drawn on a canvas."""
        box = self.page.get_by_test_id("stDataFrame").first.bounding_box()
        assert box is not None
        self.page.mouse.click(box["x"] + column_px, box["y"] + 50 + 32 * row)
        self.settle()

    def _note_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https", "ws", "wss"}:
            self.hosts.add(parts.netloc)

    def _note_dialog(self, dialog: Dialog) -> None:
        self.alarms.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note_message(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            self.alarms.append(message.text)


def open_engine(folder: Path) -> Engine:
    """The database of a data folder, with every table."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = connect(f"sqlite:///{folder / 'governor.db'}")
    schema.upgrade(engine)
    return engine


@pytest.fixture(scope="session")
def full_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a day full of calls up to now; to be read only."""
    folder = tmp_path_factory.mktemp("full")
    fabricate(open_engine(folder), Plan(calls=2_000, days=1, end_at=int(time.time() * 1000)))
    return folder


@pytest.fixture(scope="session")
def chrome(chromium: str) -> Iterator[Browser]:
    """One browser for all tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts consoles, each a fresh process, and ends them with the test."""
    consoles: list[Console] = []

    def start_console(data_dir: Path | None = None, **environment: str) -> Console:
        console = Console(tmp_path, data_dir or tmp_path / "data", environment)
        consoles.append(console)
        console.start()
        return console

    yield start_console
    for console in consoles:
        console.stop()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A running gateway on the data folder that ``start`` takes by default."""
    found = Gateway(tmp_path)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def visit(chrome: Browser) -> Iterator[Open]:
    """Opens browser pages, light or dark, each with cookies of its own."""
    contexts = []

    def open_visitor(url: str | None = None, *, dark: bool = False) -> Visitor:
        context = chrome.new_context(viewport={"width": 1440, "height": 900}, color_scheme="dark" if dark else "light")
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        visitor = Visitor(context.new_page())
        visitor.watch()
        if url:
            visitor.go(url)
        return visitor

    yield open_visitor
    for context in contexts:
        context.close()
