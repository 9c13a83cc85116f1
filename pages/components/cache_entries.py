"""What lies in the caches, as the gateway says it: its state, a look-up, the entries served most, purge."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from backend.settings.store import Version
from pages.components import data
from pages.components import format as fmt
from pages.components.cache_lookup import draw_lookup
from pages.components.cache_purge import draw_purge
from pages.components.cards import card
from pages.components.control_client import GatewaySilent, ask_control

SETTINGS = "pages/tune/settings.py"
_LONG = 24
"""Characters of a state that a figure has room for."""


def draw_entries(version: Version) -> None:
    """Everything that only a running gateway knows; without one, why and what to do."""
    try:
        status = ask_control("GET", "/control/cache")
    except GatewaySilent as error:
        _draw_silence(str(error))
        return
    _draw_status(status, version)
    draw_lookup(version)
    left, right = st.columns([11, 5])
    with left, card("Served most", hint="Entries of the exact cache."):
        _draw_top()
    with right, card("Purge", hint="For every worker. Nothing is deleted before you have seen how much."):
        draw_purge()


def _draw_silence(reason: str) -> None:
    with st.container(border=True, key="gateway_silent"):
        st.markdown(f":material/cloud_off: **{fmt.plain(reason)}**")
        st.caption("What lies in the caches, look-ups and purge are the gateway's. This starts one beside the console:")
        st.code("governor gateway", language="bash")
        st.button("Try again", key="gateway_again")


def _draw_status(status: dict[str, Any], version: Version) -> None:
    exact, semantic = status["exact"], status["semantic"]
    settings = version.settings.cache
    with st.grid(4, min_column_width=190, gap="small"):
        _draw_fact("Exact entries", fmt.count(exact.get("entries")), str(exact.get("store") or ""), None)
        state = str(semantic.get("state") or "").removeprefix("semantic cache: ")
        note = state if len(state) < _LONG else "not ready"
        _draw_fact("Questions kept", fmt.count(semantic.get("entries")), note, _write_index(semantic))
        made = str(semantic.get("embedder") or "")
        _draw_fact("Embedder", settings.embedder, made if made != settings.embedder else None, "Another begins anew.")
        _draw_fact("Time to live", _write_ttl(settings.ttl_s), None, "Of new entries; callers may ask for less.")
    with st.container(horizontal=True, vertical_alignment="center", key="ttl_link"):
        faults = [state] if len(state) >= _LONG else []
        faults += [f"{name} {value:,}" for name in ("damaged", "dropped") if (value := semantic.get(name) or 0)]
        if exact.get("breaker") not in (None, "closed"):
            faults.append(f"breaker of the store: {exact['breaker']}")
        said = fmt.plain(" · ".join(faults)) if faults else "No entry was damaged or dropped."
        st.caption(said, width="content")
        st.space("stretch")
        st.page_link(
            SETTINGS, label="Time to live and other knobs", icon=":material/tune:", query_params={"section": "cache"}
        )


def _draw_fact(title: str, value: str, note: str | None, hint: str | None) -> None:
    options: dict[str, Any] = {"delta_color": "off", "delta_arrow": "off", "border": True, "height": "stretch"}
    st.metric(title, value, note or None, help=hint, **options)


def _write_index(semantic: dict[str, Any]) -> str | None:
    return f"Index: {semantic['mode']}." if semantic.get("mode") else None


def _write_ttl(seconds: int) -> str:
    return fmt.duration(seconds * 1000.0)


def _draw_top() -> None:
    entries = ask_control("POST", "/control/cache/top", {"limit": 50})["entries"]
    if not entries:
        st.caption("Nothing is kept yet.")
        return
    now_at = data.freshness().read_at
    frame = pd.DataFrame(
        {
            "question": [each.get("question") or fmt.ABSENT for each in entries],
            "model": [each["model"] for each in entries],
            "tenant": [each["tenant"] for each in entries],
            "hits": [each["hits"] for each in entries],
            "saved": [_write_saved(each) for each in entries],
            "stored": [fmt.ago(each["stored_at"], now_at) for each in entries],
            "expires": [_write_left(each["expires_at"] - now_at) for each in entries],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        alt="Entries served most",
        height="content" if len(frame) < 10 else 360,
        column_config={
            "question": st.column_config.TextColumn("Question", width=220),
            "model": st.column_config.TextColumn("Model", width=104),
            "tenant": st.column_config.TextColumn("Tenant", width=64),
            "hits": st.column_config.NumberColumn("Hits", format="localized", width=50),
            "saved": st.column_config.TextColumn("Saved", alignment="right", width=72),
            "stored": st.column_config.TextColumn("Stored", width=80),
            "expires": st.column_config.TextColumn("Expires in", width=84),
        },
    )


def _write_saved(entry: dict[str, Any]) -> str:
    cost = entry.get("cost_nusd")
    return fmt.money(None if cost is None else cost * entry["hits"])


def _write_left(ms: int) -> str:
    return "expired" if ms <= 0 else fmt.duration(float(ms))
