"""Ranked lists: the values of a dimension that cost most, each a way to its calls."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from backend.reports.spend import SpendTable
from pages.components import format as fmt
from pages.components.cards import CALLS
from pages.components.charts import Plot, draw_ranking
from pages.components.rows import rows_of
from pages.components.view import View


def draw_ranked(table: SpendTable, dimension: str, view: View, *, key: str) -> None:
    """Bars by spend, or by calls where nothing is priced; clicking one opens its calls."""
    frame = table.frame.head(8)
    if frame.empty:
        st.caption("No calls.")
        return
    by_cost = bool(table.totals.cost_nusd)
    values = frame["cost_nusd"].fillna(0) / 1e9 if by_cost else frame["calls"]
    shown = [
        fmt.money(None if pd.isna(row.cost_nusd) else int(row.cost_nusd)) if by_cost else fmt.count(row.calls)
        for row in rows_of(frame)
    ]
    rows = pd.DataFrame(
        {"key": frame["value"], "name": frame["name"], "value": values.astype("float64"), "shown": shown}
    )
    plot = Plot(
        key,
        f"Largest {dimension} values by {'spend' if by_cost else 'calls'}",
        height=34 * len(rows) + 24,
        legend=False,
    )
    chosen = draw_ranking(rows, plot)
    if table.rest:
        st.caption(f"and {table.rest:,} more")
    if chosen is not None:
        st.switch_page(CALLS, query_params=view.narrowed(dimension, chosen).link())
