"""Notices that survive a rerun, and the offer to take back the last change."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from backend.actions import Signature, rollback_settings
from pages.components import data
from pages.components.person import actor

_NOTICES, _UNDO = "_notices", "_undo"


@dataclass(frozen=True, slots=True)
class Undo:
    """A settings change that can be taken back while nothing came after it."""

    made: int
    before: int
    what: str


def notify(text: str, icon: str = ":material/check_circle:") -> None:
    """Queue a notice for the next run: one shown just before a rerun is lost."""
    st.session_state.setdefault(_NOTICES, []).append((text, icon))


def offer_undo(undo: Undo) -> None:
    """Offer to take a change back, until it is dismissed or another is made."""
    st.session_state[_UNDO] = undo


def show_notices() -> None:
    """Show what was queued."""
    for text, icon in st.session_state.pop(_NOTICES, []):
        st.toast(text, icon=icon)


def draw_undo() -> None:
    """The bar that offers to take the last change back."""
    undo: Undo | None = st.session_state.get(_UNDO)
    if undo is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", border=True, key="undo_bar"):
        st.markdown(f":material/check_circle: Settings version {undo.made} is in force: {undo.what}", width="stretch")
        st.button("Undo", icon=":material/undo:", key="undo", on_click=_take_back, args=(undo,))
        st.button("Dismiss", type="tertiary", key="undo_dismiss", on_click=_dismiss)


def _dismiss() -> None:
    st.session_state.pop(_UNDO, None)


def _take_back(undo: Undo) -> None:
    """Roll back, unless somebody changed the settings since: their change must not vanish with ours."""
    _dismiss()
    data.forget()
    now = data.settings()
    if now.version != undo.made:
        notify(f"Not undone: {now.actor} saved version {now.version} since. See Changes.", ":material/error:")
        return
    version = rollback_settings(data.console().engine, undo.before, Signature(actor(), f"Undo of version {undo.made}"))
    data.forget()
    st.session_state["_drafts"] = st.session_state.get("_drafts", 0) + 1
    notify(f"Undone: version {version.version} has the values of version {undo.before}.")
