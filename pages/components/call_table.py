"""The list of calls as a table; a row's button opens the call."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.components import data
from pages.components import format as fmt
from pages.components.colors import CACHE_TONES, STATUS_TONES, Tone
from pages.components.rows import known, rows_of, whole


def draw_table(frame: pd.DataFrame) -> None:
    """At most one page of calls."""
    shown = _shown(frame)
    st.session_state["_listed_calls"] = list(frame["id"])
    st.dataframe(
        shown,
        hide_index=True,
        row_height=32,
        height=min(36 + 32 * len(shown) + 4, 640),
        alt="Calls, newest first",
        column_config={
            "open": st.column_config.ButtonColumn(
                "", on_click=_open, key="call_open", width=64, pinned=True, type="secondary"
            ),
            "time": st.column_config.TextColumn("Time", width=112),
            "status": _badges("Status", STATUS_TONES, 82),
            "model": st.column_config.TextColumn("Model", width=134),
            "deployment": st.column_config.TextColumn("Deployment", width=134),
            "cache": _badges("Cache", CACHE_TONES, 84),
            "tokens": st.column_config.TextColumn("Tokens in + out", width=104, alignment="right"),
            "cost": st.column_config.TextColumn("Cost", width=84, alignment="right"),
            "latency": st.column_config.TextColumn("Latency", width=70, alignment="right"),
            "ttft": st.column_config.TextColumn("TTFT", width=66, alignment="right"),
            "key": st.column_config.TextColumn("Key", width=100),
            "user": st.column_config.TextColumn("User", width=110),
            "feature": st.column_config.TextColumn("Feature", width=110),
            "error": st.column_config.TextColumn("Error", width=160),
        },
    )


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    zone = data.zone()
    status = frame["status"].where(frame["state"] != "open", "open")
    return pd.DataFrame(
        {
            "open": "View",
            "time": [f"{fmt.moment(int(at), zone):%m-%d %H:%M:%S}" for at in frame["started_at"]],
            "status": [[each] if isinstance(each, str) else [] for each in status],
            "model": frame["model"],
            "deployment": frame["deployment"],
            "cache": [[each] if isinstance(each, str) else [] for each in frame["cache_kind"]],
            "tokens": [_tokens(row) for row in rows_of(frame)],
            "cost": [_cost(row) for row in rows_of(frame)],
            "latency": [fmt.duration(known(value)) for value in frame["latency_ms"]],
            "ttft": [fmt.duration(known(value)) for value in frame["ttft_ms"]],
            "key": frame["key"],
            "user": frame["user"],
            "feature": frame["feature"],
            "error": frame["error_code"],
        }
    )


def _tokens(row: Any) -> str:
    sent, made = known(row.prompt_tokens), known(row.completion_tokens)
    if sent is None and made is None:
        return fmt.ABSENT
    return f"{fmt.count(sent)} + {fmt.count(made)}"


def _cost(row: Any) -> str:
    if row.state == "open":
        return fmt.ABSENT
    nusd = whole(row.cost_nusd)
    return fmt.money(nusd, estimated=row.state == "estimated")


def _badges(title: str, colors: dict[str, Tone], width: int) -> Any:
    options, chosen = list(colors), list(colors.values())
    return st.column_config.MultiselectColumn(title, options=options, color=chosen, width=width)


def _open() -> None:
    click = st.session_state["call_open"]
    listed = st.session_state.get("_listed_calls", [])
    if click is not None and 0 <= click["row"] < len(listed):
        st.query_params["call"] = listed[click["row"]]
