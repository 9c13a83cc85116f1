"""Charts of the page Cache: thresholds tried on recorded traffic, nearness of questions, the verifier's honesty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from backend.reports.cache_traffic import OUTCOMES, Outlook
from pages.components import format as fmt
from pages.components.charts import CONFIG, Plot, style
from pages.components.colors import color_of, ink
from pages.components.rows import rows_of

_HIT, _WRONG = "semantic", "error_rate"


@dataclass(frozen=True, slots=True)
class Marks:
    """Vertical lines over thresholds: the one being tried, and the one in force if any; the rate tolerated."""

    chosen: float
    in_force: float | None
    tolerated: float


def draw_hit_rates(outlooks: Sequence[Outlook], marks: Marks, plot: Plot) -> None:
    """The share of look-ups that each threshold would have answered."""
    figure = go.Figure(
        go.Scatter(
            x=list(range(len(outlooks))),
            y=[each.hit_rate for each in outlooks],
            mode="lines",
            line={"width": 2, "color": color_of(_HIT)},
            fill="tozeroy",
            fillcolor=_faint(color_of(_HIT)),
            customdata=[[write_threshold(each.threshold), fmt.share(each.hit_rate), each.hits] for each in outlooks],
            hovertemplate="from %{customdata[0]}: %{customdata[1]} of look-ups, %{customdata[2]:,} hits<extra></extra>",
        )
    )
    _finish(figure, outlooks, marks, plot)
    _show(figure, plot)


def draw_wrong_rates(outlooks: Sequence[Outlook], marks: Marks, plot: Plot) -> None:
    """The share of those hits that would have been wrong, with its interval and the rate tolerated."""
    known = [(place, each) for place, each in enumerate(outlooks) if each.false_hit_rate is not None]
    figure = go.Figure()
    places = [place for place, _ in known]
    band = [*(each.high for _, each in known), *(each.low for _, each in reversed(known))]
    figure.add_trace(
        go.Scatter(
            x=[*places, *reversed(places)],
            y=band,
            fill="toself",
            fillcolor=_faint(color_of(_WRONG)),
            line={"width": 0},
            hoverinfo="skip",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=places,
            y=[each.false_hit_rate for _, each in known],
            mode="lines",
            line={"width": 2, "color": color_of(_WRONG)},
            customdata=[_describe_wrong(each) for _, each in known],
            hovertemplate="from %{customdata[0]}: %{customdata[1]} wrong<br>%{customdata[2]}<extra></extra>",
        )
    )
    figure.add_hline(marks.tolerated, line={"color": ink(soft=True), "width": 1, "dash": "dash"})
    figure.add_annotation(
        x=0, xref="paper", y=marks.tolerated, text="tolerated", showarrow=False, yshift=8, xanchor="left", font_size=11
    )
    _finish(figure, outlooks, marks, plot)
    top = max((each.false_hit_rate or 0.0 for _, each in known), default=0.0)
    figure.update_yaxes(range=[0, max(4 * marks.tolerated, 1.6 * top)])
    _show(figure, plot)


def _describe_wrong(outlook: Outlook) -> list[str]:
    interval = f"{fmt.share(outlook.low)} to {fmt.share(outlook.high)} with 95% confidence, {outlook.labels:,} labels"
    return [write_threshold(outlook.threshold), fmt.share(outlook.false_hit_rate), interval]


def write_threshold(threshold: float) -> str:
    """A threshold with as many digits as tell it from its neighbours."""
    return f"{threshold:.4f}".rstrip("0").rstrip(".") or "0"


def _finish(figure: go.Figure, outlooks: Sequence[Outlook], marks: Marks, plot: Plot) -> None:
    style(figure, plot)
    lines = [(marks.chosen, "solid", ink())]
    if marks.in_force is not None and marks.in_force != marks.chosen:
        lines.append((marks.in_force, "dot", ink(soft=True)))
    for threshold, dash, color in lines:
        figure.add_vline(_place(outlooks, threshold), line={"color": color, "width": 1.5, "dash": dash})
    every = range(0, len(outlooks), max(1, len(outlooks) // 6))
    texts = [write_threshold(outlooks[place].threshold) for place in every]
    figure.update_xaxes(tickvals=list(every), ticktext=texts, range=[-0.3, len(outlooks) - 0.7])
    figure.update_yaxes(tickformat=".3~%", rangemode="tozero")
    figure.update_layout(showlegend=False, dragmode=False, hovermode="closest")


def _place(outlooks: Sequence[Outlook], threshold: float) -> int:
    return min(range(len(outlooks)), key=lambda place: abs(outlooks[place].threshold - threshold))


def _show(figure: go.Figure, plot: Plot) -> None:
    st.plotly_chart(figure, key=plot.key, alt=plot.alt, config=CONFIG)


def draw_nearness(frame: pd.DataFrame, plot: Plot, lines: Mapping[str, float]) -> None:
    """Stacked bars per step: hits served, near misses, questions that the gate refused; thresholds as lines."""
    figure = go.Figure()
    for outcome in OUTCOMES:
        rows = frame[frame["outcome"] == outcome]
        if not rows["calls"].sum():
            continue
        figure.add_trace(
            go.Bar(
                x=list(range(len(rows))),
                y=rows["calls"],
                name=outcome,
                marker={"color": color_of(outcome), "line": {"width": 0}},
                customdata=[f"{write_threshold(row.start)} to {write_threshold(row.end)}" for row in rows_of(rows)],
                hovertemplate=f"%{{customdata}}: %{{y:,}} {outcome}<extra></extra>",
            )
        )
    style(figure, plot)
    steps = frame[frame["outcome"] == OUTCOMES[0]]
    for name, value in lines.items():
        at = int((steps["end"] <= value).sum()) - 0.5
        figure.add_vline(at, line={"color": ink(), "dash": "dot", "width": 1.5})
        figure.add_annotation(
            x=at, y=1.08, yref="paper", text=name, showarrow=False, font={"color": ink()}, xanchor="right"
        )
    every = range(0, len(steps), max(1, len(steps) // 6))
    starts = [write_threshold(float(steps["start"].iloc[place])) for place in every]
    figure.update_xaxes(tickvals=[place - 0.5 for place in every], ticktext=starts)
    figure.update_yaxes(tickformat="~s")
    figure.update_layout(barmode="stack", bargap=0.08, hovermode="closest", dragmode=False, margin={"t": 24})
    _show(figure, plot)


def draw_curve(frame: pd.DataFrame, plot: Plot) -> None:
    """Points of what the verifier said and what came true, with intervals, against the line of perfect honesty."""
    figure = go.Figure(
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": ink(soft=True), "dash": "dot"}, hoverinfo="skip")
    )
    rows = rows_of(frame)
    figure.add_trace(
        go.Scatter(
            x=frame["probability"],
            y=frame["same"],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": frame["high"] - frame["same"],
                "arrayminus": frame["same"] - frame["low"],
                "thickness": 1.2,
                "width": 3,
            },
            mode="lines+markers",
            line={"color": color_of(_HIT), "width": 1.5},
            marker={"size": 7},
            customdata=[
                [f"{row.probability:.3f}", fmt.share(row.same), fmt.share(row.low), fmt.share(row.high), row.labels]
                for row in rows
            ],
            hovertemplate="said %{customdata[0]}, came true %{customdata[1]}<br>%{customdata[2]} to %{customdata[3]}, "
            "%{customdata[4]:,} labels<extra></extra>",
        )
    )
    style(figure, plot)
    figure.update_xaxes(range=[-0.02, 1.02], tickformat=".2~f", title={"text": "Said by the verifier", "font_size": 12})
    figure.update_yaxes(range=[-0.02, 1.05], tickformat=".0%")
    figure.update_layout(showlegend=False, hovermode="closest", dragmode=False)
    _show(figure, plot)


def _faint(color: str) -> str:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.14)"
