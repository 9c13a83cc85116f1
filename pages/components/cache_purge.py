"""Deleting entries: counted first, then confirmed with a reason."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.components import data
from pages.components import format as fmt
from pages.components.control_client import GatewaySilent, ask_control
from pages.components.notices import notify
from pages.components.person import actor

_COUNTED = "_purge_counted"
_WORD = "everything"


def draw_purge() -> None:
    """Which entries, how many they are, and the button that asks once more."""
    with st.form("purge", border=False):
        tenant = st.text_input("Tenant", key="purge_tenant", placeholder="any")
        model = st.text_input("Model", key="purge_model", placeholder="any")
        hours = st.number_input(
            "Older than, hours", min_value=0.0, value=None, key="purge_hours", placeholder="any age", format="%g"
        )
        if st.form_submit_button("Count", icon=":material/calculate:"):
            st.session_state[_COUNTED] = _count(_select(tenant, model, hours))
    counted = st.session_state.get(_COUNTED)
    if isinstance(counted, str):
        st.error(fmt.plain(counted), icon=":material/error:")
    elif counted:
        _draw_counted(*counted)


def _select(tenant: str, model: str, hours: float | None) -> dict[str, Any]:
    chosen: dict[str, Any] = {"tenant": tenant.strip(), "model": model.strip()}
    chosen = {name: value for name, value in chosen.items() if value}
    if hours is not None:
        chosen["older_than_s"] = hours * 3600
    return chosen or {"all": True}


def _count(selection: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | str:
    try:
        return selection, ask_control("POST", "/control/cache/purge", {**selection, "dry_run": True})
    except GatewaySilent as error:
        return str(error)


def _draw_counted(selection: dict[str, Any], amount: dict[str, Any]) -> None:
    st.markdown(fmt.plain(f"{_write(amount)} would go: {_describe(selection)}."))
    nothing = not (amount["exact"] or amount["semantic"])
    if st.button("Purge", key="purge_ask", icon=":material/delete:", disabled=nothing):
        _confirm(selection, amount)


def _write(amount: dict[str, Any]) -> str:
    return f"{amount['exact']:,} exact entries and {amount['semantic']:,} questions"


def _describe(selection: dict[str, Any]) -> str:
    if selection.get("all"):
        return "everything"
    said = [f"{name} {selection[name]}" for name in ("tenant", "model") if name in selection]
    if "older_than_s" in selection:
        said.append(f"older than {fmt.duration(selection['older_than_s'] * 1000)}")
    return ", ".join(said)


@st.dialog("Purge the caches", icon=":material/delete:")
def _confirm(selection: dict[str, Any], amount: dict[str, Any]) -> None:
    st.markdown(fmt.plain(f"{_write(amount)} will be deleted for every worker: {_describe(selection)}."))
    st.caption("They cannot be brought back; the next such calls go upstream and cost money.")
    typed = st.text_input(f"Type {_WORD}", key="purge_word") if selection.get("all") else _WORD
    reason = st.text_input("Why", key="purge_reason", placeholder="A reason, for whoever reads this later")
    if not st.button("Purge", type="primary", key="purge_do"):
        return
    if typed != _WORD or not reason.strip():
        st.error("It needs a reason, and for everything the word.", icon=":material/error:")
        return
    _purge(selection, reason)


def _purge(selection: dict[str, Any], reason: str) -> None:
    body = {**selection, "dry_run": False, "reason": reason, "actor": actor()}
    try:
        gone = ask_control("POST", "/control/cache/purge", body)
    except GatewaySilent as error:
        st.error(fmt.plain(str(error)), icon=":material/error:")
        return
    st.session_state.pop(_COUNTED, None)
    data.forget()
    notify(f"Purged: {_write(gone)}.")
    st.rerun()
