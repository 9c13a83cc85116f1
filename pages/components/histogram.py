"""How many calls took how long."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.components import format as fmt
from pages.components.charts import CONFIG, Plot, style
from pages.components.colors import color_of
from pages.components.rows import rows_of


def draw_histogram(frame: pd.DataFrame, plot: Plot, lines: Mapping[str, float | None]) -> None:
    """Bars of equal width on a logarithmic scale, with percentiles as vertical lines."""
    if frame.empty:
        st.caption("No calls with this measure.")
        return
    ends = [(fmt.duration(row.from_ms), fmt.duration(row.to_ms)) for row in rows_of(frame)]
    figure = go.Figure(
        go.Bar(
            x=list(range(len(frame))),
            y=frame["calls"],
            marker={"color": color_of("p50"), "line": {"width": 0}},
            customdata=[f"{start} to {end}" for start, end in ends],
            hovertemplate="%{customdata}: %{y:,} calls<extra></extra>",
        )
    )
    for name, value in lines.items():
        place = _place(frame, value)
        if place is not None:
            figure.add_vline(place, line={"color": color_of(name), "dash": "dot", "width": 2})
            figure.add_annotation(
                x=place, y=1.06, yref="paper", text=name, showarrow=False, font={"color": color_of(name)}
            )
    style(figure, plot)
    every = max(1, len(frame) // 6)
    places = list(range(0, len(frame), every))
    figure.update_xaxes(
        tickvals=[each - 0.5 for each in places], ticktext=[ends[each][0] for each in places], fixedrange=True
    )
    figure.update_yaxes(tickformat="~s")
    figure.update_layout(showlegend=False, bargap=0.08, margin={"t": 26}, hovermode="closest", dragmode=False)
    st.plotly_chart(figure, key=plot.key, alt=plot.alt, config=CONFIG)


def _place(frame: pd.DataFrame, value: float | None) -> float | None:
    if value is None:
        return None
    for place, row in enumerate(rows_of(frame)):
        if row.from_ms <= value < row.to_ms:
            return place - 0.5 + float((value - row.from_ms) / (row.to_ms - row.from_ms))
    return None
