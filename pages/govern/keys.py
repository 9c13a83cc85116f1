"""Who may call: keys made (shown once), listed and revoked."""

from __future__ import annotations

import time

import pandas as pd
import streamlit as st

from backend.actions import SCOPES, GatewayError, KeyDraft, KeyLine, Signature, create_key, list_keys, revoke_key
from pages.components import data
from pages.components import format as fmt
from pages.components.notices import notify
from pages.components.person import actor

STATE_COLORS = {"valid": "green", "expired": "orange", "revoked": "gray"}
LABELS = ("user", "feature", "department", "environment")
LIFETIMES_MS = {
    "Never": None,
    "In 30 days": 30 * 86_400_000,
    "In 90 days": 90 * 86_400_000,
    "In a year": 365 * 86_400_000,
}
SCOPE_HELP = "call: make calls. read: read settings and numbers over HTTP. admin: change them."


def draw() -> None:
    """The page."""
    found = list_keys(data.console().engine)
    with st.container(horizontal=True, horizontal_alignment="right", key="keys_toolbar"):
        if st.button("Create key", type="primary", icon=":material/add:", key="key_new"):
            _create()
    if not found:
        with st.container(border=True):
            st.subheader("No keys yet", anchor=False)
            st.write("Anybody on this machine may call the gateway, and nobody else.")
            st.write("The first key changes that: from then on every call needs one.")
        return
    valid = sum(line.state() == "valid" for line in found)
    st.caption(f"{valid} valid of {len(found)}. A key is shown once, when it is made; nobody can look it up later.")
    _draw_list(found)


def _draw_list(found: list[KeyLine]) -> None:
    st.session_state["_listed_keys"] = [(line.id, line.name) for line in found]
    st.dataframe(
        _frame(found),
        hide_index=True,
        alt="Keys, newest first",
        row_height=32,
        height="content" if len(found) <= 15 else 560,
        column_config={
            "act": st.column_config.ButtonColumn("", on_click=_ask_revoke, key="key_act", width=80),
            "name": st.column_config.TextColumn("Name", width=160),
            "state": st.column_config.MultiselectColumn(
                "State", options=list(STATE_COLORS), color=list(STATE_COLORS.values()), width=82
            ),
            "prefix": st.column_config.TextColumn("Begins with", width=150),
            "scopes": st.column_config.TextColumn("May", width=80),
            "models": st.column_config.TextColumn("Models", width=110),
            "labels": st.column_config.TextColumn("Calls are put down to", width=180),
            "created": st.column_config.TextColumn("Created", width=210),
            "expires": st.column_config.TextColumn("Expires", width=90),
        },
    )
    wanted = st.session_state.pop("_revoke", None)
    if wanted:
        _revoke(*wanted)


def _frame(found: list[KeyLine]) -> pd.DataFrame:
    zone = data.zone()
    return pd.DataFrame(
        {
            "act": ["Revoke" if line.state() == "valid" else None for line in found],
            "name": [line.name for line in found],
            "state": [[line.state()] for line in found],
            "prefix": [f"{line.prefix}-…" for line in found],
            "scopes": [", ".join(line.scopes) for line in found],
            "models": [", ".join(line.models) or "all" for line in found],
            "labels": [", ".join(f"{name} {value}" for name, value in line.attribution.items()) for line in found],
            "created": [f"{fmt.clock(line.created_at, zone)[:16]} by {line.created_by or 'unknown'}" for line in found],
            "expires": [fmt.clock(line.expires_at, zone)[:10] if line.expires_at else "never" for line in found],
        }
    )


def _ask_revoke() -> None:
    click = st.session_state["key_act"]
    listed = st.session_state.get("_listed_keys", [])
    if click is not None and 0 <= click["row"] < len(listed):
        st.session_state["_revoke"] = listed[click["row"]]


@st.dialog("Create a key", icon=":material/key:", on_dismiss="rerun")
def _create() -> None:
    made = st.session_state.get("_made_key")
    if made:
        _show_once(*made)
        return
    drawn = _draw_draft()
    if st.button("Create", type="primary", key="key_create"):
        _make(*drawn)


def _draw_draft() -> tuple[KeyDraft, str]:
    name = st.text_input("Name", key="key_name", placeholder="The service or person that will use it")
    scopes = st.pills("May", list(SCOPES), selection_mode="multi", default=["call"], key="key_scopes", help=SCOPE_HELP)
    known = [each.model for each in data.settings().settings.deployments if each.model != "*"]
    models = st.multiselect(
        "Models", list(dict.fromkeys(known)), key="key_models", placeholder="All", accept_new_options=True
    )
    expiry = st.selectbox("Expires", list(LIFETIMES_MS), key="key_expiry")
    st.caption("Calls with this key are put down to, whatever they say themselves:")
    labels = {}
    with st.grid(2, gap="small"):
        for label in LABELS:
            labels[label] = st.text_input(label.capitalize(), key=f"key_label_{label}")
    reason = st.text_input("Why", key="key_reason", placeholder="A reason, for whoever reads this later")
    lifetime_ms = LIFETIMES_MS[expiry]
    expires_at = None if lifetime_ms is None else time.time_ns() // 1_000_000 + lifetime_ms
    said = {label: text.strip() for label, text in labels.items() if text.strip()}
    return KeyDraft(name, tuple(scopes), tuple(models), said, expires_at=expires_at), reason


def _make(draft: KeyDraft, reason: str) -> None:
    try:
        console = data.console()
        made = create_key(console.engine, console.environment.key_secret(), draft, Signature(actor(), reason))
    except GatewayError as error:
        st.error(fmt.plain(error.message), icon=":material/error:")
        return
    data.forget()
    st.session_state["_made_key"] = (draft.name, made.credential)
    st.rerun(scope="fragment")


def _show_once(name: str, credential: str) -> None:
    st.markdown(f"**{fmt.plain(name)}** is ready. Copy its key now: it is not shown again, and nobody can look it up.")
    st.code(credential, language=None, wrap_lines=True)
    if st.button("I have copied it", type="primary", key="key_done"):
        st.session_state.pop("_made_key", None)
        notify(f"Key {fmt.plain(name)} was created.")
        st.rerun()


@st.dialog("Revoke a key", icon=":material/block:")
def _revoke(key_id: str, name: str) -> None:
    st.write("Every gateway refuses it within a second. This cannot be undone.")
    st.markdown(f"Type **{fmt.plain(name)}** to confirm.")
    typed = st.text_input("Name of the key", key="revoke_name")
    reason = st.text_input("Why", key="revoke_reason", placeholder="A reason, for whoever reads this later")
    if st.button("Revoke", type="primary", key="revoke_apply"):
        if typed.strip() != name.strip():
            st.error("That is not the name of the key.", icon=":material/error:")
            return
        _carry_out(key_id, name, reason)


def _carry_out(key_id: str, name: str, reason: str) -> None:
    try:
        revoke_key(data.console().engine, key_id, Signature(actor(), reason))
    except GatewayError as error:
        st.error(fmt.plain(error.message), icon=":material/error:")
        return
    data.forget()
    notify(f"Key {fmt.plain(name)} is revoked.")
    st.rerun()


if "_made_key" in st.session_state and not st.session_state.get("key_new"):
    st.session_state.pop("_made_key")
draw()
