"""What failed in a batch job, first lines first; a line's button opens its call."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from backend.reports.batches import JobDetail
from pages.components import format as fmt
from pages.components.cards import CALLS

_WANTED = "_failed_call"


def draw_failures(detail: JobDetail) -> None:
    """The list, without columns that say nothing here."""
    wanted = st.session_state.pop(_WANTED, None)
    if wanted:
        st.switch_page(CALLS, query_params={"call": wanted})
    shown = detail.failures
    st.session_state["_listed_failures"] = [each.call_id for each in shown]
    told: dict[str, list[str | None]] = {
        "open": ["View" if each.call_id else None for each in shown],
        "line": ["" if each.line is None else f"{each.line:,}" for each in shown],
        "custom_id": [each.custom_id for each in shown],
        "status": [None if each.status_code is None else str(each.status_code) for each in shown],
        "code": [each.code or fmt.ABSENT for each in shown],
        "message": [each.message for each in shown],
    }
    st.markdown("**First failures**" if detail.job.row.failed > len(shown) else "**Failures**")
    st.dataframe(
        pd.DataFrame({name: column for name, column in told.items() if any(column)}),
        hide_index=True,
        row_height=32,
        height="content" if len(shown) <= 7 else 260,
        alt="What failed first",
        key="job_failures",
        column_config=_COLUMNS,
    )


def _open() -> None:
    click, listed = st.session_state["failure_open"], st.session_state.get("_listed_failures", [])
    if click is not None and 0 <= click["row"] < len(listed):
        st.session_state[_WANTED] = listed[click["row"]]


_COLUMNS: dict[str, Any] = {
    "open": st.column_config.ButtonColumn("", on_click=_open, key="failure_open", width=64, type="secondary"),
    "line": st.column_config.TextColumn("Line", width=54, alignment="right"),
    "custom_id": st.column_config.TextColumn("Custom id", width=96),
    "status": st.column_config.TextColumn("HTTP", width=52),
    "code": st.column_config.TextColumn("Code", width=136),
    "message": st.column_config.TextColumn("Message", width="large"),
}
