"""Where a call's time went, as one bar and a list."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from backend.reports.call_detail import CallDetail
from pages.components import format as fmt
from pages.components.colors import color_of


def draw_timing(detail: CallDetail) -> None:
    """Ours, waiting for the first token, streaming; then every try."""
    timing = detail.timing
    if timing.latency_ms is None:
        st.caption("The call has not ended, or its worker died before it did.")
    else:
        _draw_bar(_parts(detail))
    facts = {
        "Total": timing.latency_ms,
        "Overhead (ours)": timing.overhead_ms,
        "Queue": timing.queue_ms,
        "Time to first token": timing.ttft_ms,
        "Streaming": timing.stream_ms,
        "Between tokens (ITL)": timing.itl_ms,
        "Upstream, all attempts": timing.upstream_ms,
    }
    st.table(
        {name: fmt.duration(value) for name, value in facts.items() if value is not None},
        border="horizontal",
        width="content",
    )
    if detail.attempts:
        st.dataframe(_attempts(detail), hide_index=True, alt="Attempts")


def _parts(detail: CallDetail) -> list[tuple[str, float, str]]:
    timing = detail.timing
    ours = (timing.overhead_ms or 0) + (timing.queue_ms or 0)
    if timing.ttft_ms is None:
        return [("Governor", ours, "p50"), ("Upstream", max(0.0, (timing.latency_ms or 0) - ours), "p95")]
    return [
        ("Governor", min(ours, timing.ttft_ms), "p50"),
        ("First token", max(0.0, timing.ttft_ms - ours), "p95"),
        ("Streaming", timing.stream_ms or 0, "p90"),
    ]


def _draw_bar(parts: list[tuple[str, float, str]]) -> None:
    figure = go.Figure(
        [
            go.Bar(
                y=[""],
                x=[value],
                name=name,
                orientation="h",
                marker={"color": color_of(color), "line": {"width": 0}},
                hovertemplate=f"{name} {fmt.duration(value)}<extra></extra>",
            )
            for name, value, color in parts
        ]
    )
    figure.update_layout(
        barmode="stack",
        height=120,
        margin={"l": 0, "r": 0, "t": 4, "b": 4},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": -0.5, "traceorder": "normal"},
        hovermode="closest",
    )
    figure.update_xaxes(ticksuffix=" ms", tickformat=",~r", showgrid=False, fixedrange=True)
    figure.update_yaxes(visible=False, fixedrange=True)
    st.plotly_chart(figure, key="call_timing", alt="Where the call's time went", config={"displayModeBar": False})


def _attempts(detail: CallDetail) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "Attempt": each["number"],
                "Deployment": each["deployment"],
                "Outcome": each["error_code"] or each["state"],
                "HTTP": str(each["http_status"] or ""),
                "TTFT": fmt.duration(each["ttft_ms"]),
                "Latency": fmt.duration(each["latency_ms"]),
                "Cost": fmt.money(each["cost_nusd"]),
            }
            for each in detail.attempts
        ]
    )
