"""The table of pages as Streamlit needs it, and parts of a page that fail alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

ICON = str(Path(__file__).with_name("governor.png"))
_BARE_RUN_LOG = "streamlit.runtime.scriptrunner_utils.script_run_context"


@dataclass(frozen=True, slots=True)
class PageEntry:
    """One line of the table of pages."""

    path: str
    title: str
    icon: str
    help: str
    scoped: bool = False
    """Whether range, group-by, comparison and filters apply to it."""


PageTable = Mapping[str, Sequence[PageEntry]]


def register(pages: PageTable) -> Any:
    """Declare the pages to Streamlit and return the one to run.

    Executing this once before the first visitor also switches off Streamlit's own reading of ``pages/``, which
    would otherwise answer the first deep link without this frame.
    """
    sections = {section: [_declare(entry, pages) for entry in entries] for section, entries in pages.items()}
    return st.navigation(sections, expanded=True)


def register_at_start(pages: PageTable) -> None:
    """The same before the server runs; Streamlit's advice that no visitor is there is not news."""
    logger = logging.getLogger(_BARE_RUN_LOG)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        register(pages)
    finally:
        logger.setLevel(level)


def _declare(entry: PageEntry, pages: PageTable) -> Any:
    first = next(iter(pages.values()))[0]
    return st.Page(entry.path, title=entry.title, icon=entry.icon, help=entry.help, default=entry is first)


def entry_of(page: Any, pages: PageTable) -> PageEntry:
    """The table's line for the page Streamlit resolved."""
    return next(entry for entries in pages.values() for entry in entries if entry.title == page.title)


@contextmanager
def quietly_failing(what: str) -> Iterator[None]:
    """A part of a page that fails alone: the rest stays, the reason goes to the log."""
    try:
        yield
    except Exception as error:
        logging.getLogger("governor.console").exception("%s could not be drawn", what)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.warning(f"{what}: {_explain(error)}", icon=":material/error:", width="stretch")
            st.button("Try again", key=f"again_{what}")


_REASONS = {
    "ReadTooSlow": "it took too long. A shorter range or fewer filters will do.",
    "OperationalError": "the database cannot be read. Is it reachable, and of this version?",
    "DatabaseAway": "the database cannot be reached.",
    "SchemaTooNew": "the database was upgraded by a newer Governor.",
    "UnreadableSettings": "the stored settings cannot be read by this version.",
}


def _explain(error: Exception) -> str:
    name = type(error).__name__
    return _REASONS.get(name, f"it failed ({name}). The log says why.")
