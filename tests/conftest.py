"""What every test can count on: no settings, keys or data folder of the person who runs it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("governor", deadline=None)  # a test never asserts speed: machines differ
settings.load_profile("governor")

pytest_plugins = ("tests.databases",)

PERSONAL = ("GOVERNOR_", "OPENAI_", "ANTHROPIC_", "AZURE_", "AWS_", "GEMINI_", "LITELLM_", "STREAMLIT_")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=20, help="How often the fault runs kill the gateway.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests go last: once started, the browser keeps an event loop running in this thread for the session."""
    items.sort(key=lambda item: item.path.parent.name == "browser")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged may hold lone surrogates, which one test process cannot send to another."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def kills(pytestconfig: pytest.Config) -> int:
    """How often a fault run kills the gateway: 20, or what `make faults` asks for."""
    return int(pytestconfig.getoption("--kills"))


@pytest.fixture(scope="session")
def long_form(kills: int) -> None:
    """What takes minutes and guards little that `make test` does not: only in `make faults`."""
    if kills < 100:
        pytest.skip("the long form runs in `make faults`")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith(PERSONAL):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; skips where none is installed."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on PATH")
    return path
