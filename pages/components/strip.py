"""The strip of bars above the list of calls: where in the range something stands out."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from backend.reports.filters import Scope
from pages.components import charts
from pages.components.charts import Plot, Unit, write_value
from pages.components.colors import color_of

MEASURES: dict[str, tuple[str, Unit]] = {
    "calls": ("Calls", "count"),
    "cost_nusd": ("Cost", "nusd"),
    "p95_ms": ("p95", "ms"),
}


def choose_measure() -> str:
    """What the bars show."""
    chosen = st.segmented_control(
        "Bars show",
        list(MEASURES),
        format_func=lambda name: MEASURES[name][0],
        default="calls",
        required=True,
        key="strip_measure",
        persist_state="session",
        label_visibility="collapsed",
        width="content",
    )
    return chosen or "calls"


def draw_strip(frame: pd.DataFrame, scope: Scope, plot: Plot, measure: str) -> None:
    """Bars per bucket of one measure; failed calls in their colour. A click or a box narrows the range."""
    title, unit = MEASURES[measure]
    figure = go.Figure()
    if measure == "calls":
        figure.add_trace(_bars(frame["at"], frame["calls"] - frame["failed"], "Not failed", "miss", unit))
        figure.add_trace(_bars(frame["at"], frame["failed"], "Failed", "failed", unit))
    else:
        figure.add_trace(_bars(frame["at"], frame[measure], title, "p95" if unit == "ms" else "miss", unit))
    for trace in figure.data:
        trace.update(xperiod=scope.bucket_ms, xperiodalignment="middle")
    figure.update_layout(barmode="stack", bargap=0.1)
    charts.finish(figure, scope, Plot(f"{plot.key}-{measure}", plot.alt, unit, plot.height, legend=False, drag=False))


def _bars(at: pd.Series, values: pd.Series, name: str, color: str, unit: Unit) -> go.Bar:
    known = [None if pd.isna(value) else float(value) for value in values]
    return go.Bar(
        x=charts.times(at),
        y=charts.scaled(values, unit),
        name=name,
        marker={"color": color_of(color), "line": {"width": 0}},
        customdata=[[int(start), write_value(value, unit)] for start, value in zip(at, known, strict=True)],
        hovertemplate=f"{name} %{{customdata[1]}}<extra></extra>",
    )
