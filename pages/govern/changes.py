"""Who changed what, when and why: settings versions, keys and prices in one list, any two versions compared."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from backend.actions import Act, GatewayError, Signature, list_changes, rollback_settings
from backend.settings.store import diff, get, history
from pages.components import data
from pages.components import format as fmt
from pages.components.cards import card
from pages.components.notices import Undo, notify, offer_undo
from pages.components.person import actor
from pages.components.settings_form import CHANGE_COLUMNS, begin_anew, change_frame

MOST = 200
KINDS = {"settings": "blue", "key": "violet", "price": "green", "engine": "orange", "cache": "yellow", "batch": "gray"}


def draw() -> None:
    """The page; ``?version=`` or ``?at=`` in the address opens that line."""
    acts = list_changes(data.console().engine, limit=MOST)
    if not acts:
        with st.container(border=True):
            st.subheader("Nothing has been changed yet", anchor=False)
            st.write(
                "The built-in settings are in force. Every change, wherever it is made, is listed with who and why."
            )
            st.page_link("pages/tune/settings.py", label="Change a setting", icon=":material/tune:")
        return
    _draw_list(acts)
    versions = [line.version for line in history(data.console().engine, limit=MOST)]
    if versions:
        _draw_comparison([*versions, 0])


def _draw_list(acts: list[Act]) -> None:
    zone = data.zone()
    frame = pd.DataFrame(
        {
            "when": [fmt.clock(act.at, zone) for act in acts],
            "kind": [[act.action.partition(".")[0]] for act in acts],
            "what": [act.subject if act.version is not None else f"{act.action} {act.subject}" for act in acts],
            "who": [act.actor for act in acts],
            "why": [act.reason for act in acts],
            "changed": [_changed(act) for act in acts],
        }
    )
    event = st.dataframe(
        frame,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="changes",
        selection_default=_selected(acts),
        alt="Changes, newest first",
        height="content" if len(frame) < 12 else 440,
        column_config={
            "when": st.column_config.TextColumn("When", width=150),
            "kind": st.column_config.MultiselectColumn(
                "Kind", options=list(KINDS), color=list(KINDS.values()), width=90
            ),
            "what": st.column_config.TextColumn("What", width=190),
            "who": st.column_config.TextColumn("Who", width=150),
            "why": st.column_config.TextColumn("Why", width=260),
            "changed": st.column_config.TextColumn("Changed"),
        },
    )
    rows = event["selection"]["rows"]
    if rows and rows[0] < len(acts):
        _draw_act(acts[rows[0]])
    else:
        st.caption("Choose a line to see what it changed, and to roll back to it.")


def _selected(acts: list[Act]) -> Any:
    version, at = st.query_params.get("version"), st.query_params.get("at")
    places = [
        place
        for place, act in enumerate(acts)
        if (version and str(act.version) == version) or (at and str(act.at) == at)
    ]
    return {"selection": {"rows": places[:1]}} if places else None


def _changed(act: Act) -> str:
    if act.version is None:
        return ""
    paths = [str(each["path"]) for each in act.changes or ()]
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _draw_act(act: Act) -> None:
    with card(fmt.plain(f"{act.subject} by {act.actor}")):
        st.text(act.reason)
        if act.version is None:
            if act.changes:
                st.json(act.changes, expanded=True)
            return
        st.dataframe(change_frame(act.changes), hide_index=True, alt="What it changed", column_config=CHANGE_COLUMNS)
        now = data.settings()
        if act.version == now.version:
            st.caption(":material/check_circle: This version is in force.")
        elif st.button(
            f"Roll back to version {act.version}", icon=":material/settings_backup_restore:", key="rollback"
        ):
            _confirm(act.version)


def _draw_comparison(versions: list[int]) -> None:
    with card("Compare two versions"):
        left, right = st.columns(2)
        older = left.selectbox(
            "From", versions, index=min(1, len(versions) - 1), format_func=_version_name, key="compare_from"
        )
        newer = right.selectbox("To", versions, index=0, format_func=_version_name, key="compare_to")
        difference = diff(data.console().engine, older, newer)
        if not difference.changes:
            st.caption("They are the same.")
            return
        st.dataframe(change_frame(difference.changes), hide_index=True, alt="Differences", column_config=CHANGE_COLUMNS)
        with st.expander("As text"):
            st.code(difference.text, language="diff")


def _version_name(version: int) -> str:
    if version == 0:
        return "0 · built in"
    line = next((each for each in history(data.console().engine, limit=1, before=version + 1)), None)
    return f"{version} · {line.actor}: {line.reason[:60]}" if line else str(version)


@st.dialog("Roll back", icon=":material/settings_backup_restore:", width="large")
def _confirm(version: int) -> None:
    now = data.settings()
    difference = diff(data.console().engine, now.version, version)
    st.write(f"The values of version {version} come into force as a new version. This changes:")
    st.dataframe(change_frame(difference.changes), hide_index=True, alt="What changes", column_config=CHANGE_COLUMNS)
    reason = st.text_input("Why", key="rollback_reason", placeholder="A reason, for whoever reads this later")
    if st.button("Roll back", type="primary", key="rollback_apply"):
        if reason.strip():
            _roll_back(version, reason)
        else:
            st.error("A change needs a reason.", icon=":material/error:")


def _roll_back(version: int, reason: str) -> None:
    before = data.settings().version
    try:
        get(data.console().engine, version)
        made = rollback_settings(data.console().engine, version, Signature(actor(), reason))
    except GatewayError as error:
        st.error(fmt.plain(error.message), icon=":material/error:")
        return
    begin_anew()
    notify(f"Rolled back: version {made.version} has the values of version {version}.")
    offer_undo(Undo(made.version, before, f"the values of version {version}"))
    st.rerun()


draw()
