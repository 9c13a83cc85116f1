"""From a draft to settings in force: validate, show the difference, ask why, apply, offer to undo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from backend.actions import Change, GatewayError, InvalidSettings, Signature, save_settings
from backend.settings.diff import KnobChange, compare, write_unified
from backend.settings.document import dump, validate
from backend.settings.store import Version
from pages.components import data
from pages.components import format as fmt
from pages.components.notices import Undo, notify, offer_undo
from pages.components.person import actor

_EPOCH = "_drafts"


@dataclass(frozen=True, slots=True)
class Draft:
    """A document somebody is working on, and the version they began from."""

    values: Mapping[str, Any]
    based_on: Version

    @property
    def changes(self) -> list[KnobChange]:
        """What the draft would change."""
        return compare(dump(self.based_on.settings), self.document)

    @property
    def document(self) -> dict[str, Any]:
        """The draft as it would be stored. Raises ``InvalidSettings``."""
        return dump(validate(self.values))


def epoch() -> int:
    """A number in the key of every widget of a form: raising it makes them begin anew."""
    return int(st.session_state.setdefault(_EPOCH, 0))


def begin_anew() -> None:
    """Forget what was typed and take the settings in force as the new beginning."""
    st.session_state[_EPOCH] = epoch() + 1
    data.forget()


def starting_version(name: str) -> Version:
    """The version that a form began from; it stays while somebody is editing."""
    key = f"_base_{name}_{epoch()}"
    if key not in st.session_state:
        st.session_state[key] = data.settings()
    version: Version = st.session_state[key]
    now = data.settings()
    if now.version != version.version:
        with st.container(horizontal=True, vertical_alignment="center", border=True, key=f"stale_{name}"):
            text = (
                f"{now.actor} saved version {now.version} meanwhile: {now.reason}. You see version {version.version}."
            )
            st.markdown(f":orange[:material/sync_problem:] {fmt.plain(text)}", width="stretch")
            st.button("Load it", on_click=begin_anew, key=f"reload_{name}", help="Drops what you typed here.")
    return version


def draw_review(draft: Draft, name: str) -> None:
    """What is wrong with the draft, or how much it changes and the way to put it in force."""
    try:
        changes = draft.changes
    except InvalidSettings as error:
        for path, problem in error.problems:
            st.error(fmt.plain(f"{path}: {problem}" if path else problem), icon=":material/error:")
        return
    with st.container(horizontal=True, vertical_alignment="center", key=f"review_{name}"):
        if changes:
            st.button("Review and apply", type="primary", key=f"apply_{name}", on_click=_ask_review, args=(name,))
            st.button("Discard", key=f"discard_{name}", on_click=begin_anew)
        words = f"{len(changes)} change{'s' if len(changes) > 1 else ''} not applied yet" if changes else "No changes"
        st.caption(words)
    if st.session_state.pop(f"_review_{name}", False) and changes:
        review(draft)


def _ask_review(name: str) -> None:
    st.session_state[f"_review_{name}"] = True


@st.dialog("Review changes", width="large", icon=":material/difference:")
def review(draft: Draft) -> None:
    """The difference, the reason, and the button that puts it in force."""
    draw_apply(draft, draft.changes)


def finish_draft(draft: Draft) -> None:
    """What is wrong with a dialog's draft, or its difference and the way to put it in force."""
    try:
        changes = draft.changes
    except InvalidSettings as error:
        for path, problem in error.problems:
            st.error(fmt.plain(f"{path}: {problem}"), icon=":material/error:")
        return
    if changes:
        draw_apply(draft, changes)
    else:
        st.caption("No changes")


def draw_apply(draft: Draft, changes: list[KnobChange]) -> None:
    """The last steps of every settings change, inside a dialog."""
    st.dataframe(change_frame(changes), hide_index=True, alt="What changes", column_config=CHANGE_COLUMNS)
    with st.expander("As text"):
        names = (f"version {draft.based_on.version}", "draft")
        st.code(write_unified(dump(draft.based_on.settings), draft.document, names), language="diff")
    reason = st.text_input("Why", key="review_reason", placeholder="A reason, for whoever reads this later")
    st.caption("Running gateways take it up within a second. You can undo it.")
    if st.button("Apply", type="primary", key="review_apply"):
        if reason.strip():
            _apply(draft, reason, summarize(changes))
        else:
            st.error("A change needs a reason.", icon=":material/error:")


def _apply(draft: Draft, reason: str, what: str) -> None:
    change = Change(dict(draft.values), Signature(actor(), reason), draft.based_on.version)
    try:
        made = save_settings(data.console().engine, change)
    except GatewayError as error:
        st.error(fmt.plain(error.message), icon=":material/error:")
        return
    begin_anew()
    notify(f"Settings version {made.version} is in force.")
    offer_undo(Undo(made.version, draft.based_on.version, what))
    st.rerun()


def summarize(changes: list[KnobChange]) -> str:
    """The changes in one line."""
    first = changes[0]
    before, after = write_knob(first["before"])[:40], write_knob(first["after"])[:40]
    more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
    return fmt.plain(f"{first['path']} {before} → {after}{more}")


def change_frame(changes: list[KnobChange]) -> pd.DataFrame:
    """Changes as a table of path, before, after."""
    rows = [(each["path"], write_knob(each["before"]), write_knob(each["after"])) for each in changes]
    return pd.DataFrame(rows, columns=["path", "before", "after"])


CHANGE_COLUMNS = {
    "path": st.column_config.TextColumn("Knob", width="large"),
    "before": st.column_config.TextColumn("Before", width="medium"),
    "after": st.column_config.TextColumn("After", width="medium"),
}


def write_knob(value: Any) -> str:
    """A knob's value on one line."""
    if value is None:
        return fmt.ABSENT
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {write_knob(each)}" for name, each in value.items() if each is not None)
    if isinstance(value, list | tuple):
        return ", ".join(write_knob(each) for each in value) or "(empty)"
    return "on" if value is True else "off" if value is False else str(value)
