"""Every chart of the console: bars and lines over time with the changes marked, and what a click on them means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from backend.reports.filters import Scope
from backend.reports.markers import Marker
from backend.reports.spend import OverTime
from pages.components import data
from pages.components import format as fmt
from pages.components.colors import color_of, grid, ink
from pages.components.filters import change_view, current_view
from pages.components.rows import rows_of

Unit = Literal["nusd", "count", "ms", "share"]

_TICKS: Mapping[Unit, dict[str, Any]] = {
    "nusd": {"tickprefix": "$", "tickformat": ",.4~r"},
    "count": {"tickformat": "~s"},
    "ms": {"ticksuffix": " s", "tickformat": ",.3~r"},
    "share": {"tickformat": ".1~%"},
}
_SCALES: Mapping[Unit, float] = {"nusd": 1e9, "ms": 1e3}
MARKS = {"settings": "triangle-down", "key": "diamond", "price": "square", "engine": "star", "other": "circle"}
_MOST_MARKS = 40


@dataclass(frozen=True, slots=True)
class Plot:
    """What a chart shows besides its data: its name for widgets and for screen readers, its unit and height."""

    key: str
    alt: str
    unit: Unit = "count"
    height: int = 300
    legend: bool = True
    drag: bool = True
    """Whether dragging over it chooses a range; else a click does, and dragging after a button of the chart."""
    ticks: int = 10


def write_value(value: float | None, unit: Unit) -> str:
    """A value as it stands in a tooltip."""
    if value is None or pd.isna(value):
        return fmt.ABSENT
    if unit == "nusd":
        return fmt.money(int(value))
    return {"count": fmt.count, "ms": fmt.duration, "share": fmt.share}[unit](value)


def draw_bars(over: OverTime, scope: Scope, plot: Plot, ghost: Sequence[float] | None = None) -> None:
    """Stacked bars per group; the bucket still filling is hatched, the period before is a dashed line."""
    figure = go.Figure()
    for group in over.groups:
        rows = over.frame[over.frame["group"] == group]
        figure.add_trace(_bar(group, rows, scope, plot.unit))
    if ghost:
        figure.add_trace(_ghost(scope, ghost, plot.unit))
    figure.update_layout(barmode="stack", bargap=0.12)
    finish(figure, scope, plot)


def draw_lines(frame: pd.DataFrame, columns: Mapping[str, str], scope: Scope, plot: Plot) -> None:
    """One line per column over ``frame['at']``; gaps stay gaps, the bucket still filling is left out."""
    figure = go.Figure()
    shown = _without_partial(frame, list(columns), scope)
    for column, title in columns.items():
        values = shown[column].astype("float64")
        figure.add_trace(
            go.Scatter(
                x=times(shown["at"]),
                y=scaled(values, plot.unit),
                name=escape(title),
                mode="lines+markers",
                line={"width": 2, "color": color_of(column)},
                marker={"size": 4 if values.count() < 60 else 1},
                customdata=[
                    [int(at), write_value(value, plot.unit)] for at, value in zip(shown["at"], values, strict=True)
                ],
                hovertemplate=f"{escape(title)} %{{customdata[1]}}<extra></extra>",
            )
        )
    finish(figure, scope, plot)


def _without_partial(frame: pd.DataFrame, columns: list[str], scope: Scope) -> pd.DataFrame:
    """Without the bucket still filling, which would bend every line, unless it is all there is."""
    whole = frame.iloc[:-1] if scope.partial_last else frame
    return whole if whole[columns].notna().any(axis=None) else frame


def draw_ranking(frame: pd.DataFrame, plot: Plot) -> str | None:
    """Horizontal bars of ``name value shown``, largest on top; the ``key`` of the one that was clicked."""
    rows = frame.iloc[::-1]
    figure = go.Figure(
        go.Bar(
            x=rows["value"],
            y=[escape(_short(name)) for name in rows["name"]],
            orientation="h",
            text=rows["shown"],
            textposition="outside",
            cliponaxis=False,
            marker={"color": [color_of(name) for name in rows["name"]]},
            customdata=[[key, escape(name)] for key, name in zip(rows["key"], rows["name"], strict=True)],
            hovertemplate="%{customdata[1]}: %{text}<extra></extra>",
        )
    )
    style(figure, plot)
    figure.update_layout(showlegend=False, hovermode="closest", bargap=0.28, clickmode="event+select", dragmode=False)
    room = 1 / (1 - 0.032 * max(map(len, rows["shown"])))
    figure.update_xaxes(visible=False, range=[0, max(rows["value"].max(), 1e-12) * room], fixedrange=True)
    figure.update_yaxes(automargin=True, showgrid=False, ticklabelstandoff=6, tickfont={"color": ink()})
    event = st.plotly_chart(
        figure, key=plot.key, on_select="rerun", selection_mode="points", alt=plot.alt, config=CONFIG
    )
    points = event["selection"]["points"]
    return str(points[0]["customdata"][0]) if points else None


def _bar(group: str, rows: pd.DataFrame, scope: Scope, unit: Unit) -> go.Bar:
    hatch = ["/" if scope.partial_last and at == scope.buckets[-1] else "" for at in rows["at"]]
    return go.Bar(
        x=times(rows["at"]),
        y=scaled(rows["value"], unit),
        name=escape(_short(group)),
        xperiod=scope.bucket_ms,
        xperiodalignment="middle",
        xperiod0=times([scope.buckets[0]])[0],
        marker={
            "color": color_of(group),
            "line": {"width": 0},
            "pattern": {"shape": hatch, "size": 5, "solidity": 0.35},
        },
        customdata=[[int(row.at), write_value(row.value, unit)] for row in rows_of(rows)],
        hovertemplate=f"{escape(_short(group))} %{{customdata[1]}}<extra></extra>",
    )


def _ghost(scope: Scope, values: Sequence[float], unit: Unit) -> go.Scatter:
    buckets = scope.buckets[: len(values)]
    return go.Scatter(
        x=times([at + scope.bucket_ms // 2 for at in buckets]),
        y=scaled(pd.Series(values[: len(buckets)]), unit),
        name="Previous period",
        mode="lines",
        line={"color": ink(soft=True), "dash": "dot", "width": 1.5},
        customdata=[[int(at), write_value(value, unit)] for at, value in zip(buckets, values, strict=False)],
        hovertemplate="Previous period %{customdata[1]}<extra></extra>",
    )


def finish(figure: go.Figure, scope: Scope, plot: Plot) -> None:
    """Axes, marks of changes, then drawing; a click or a box on the chart becomes the range."""
    style(figure, plot)
    _mark_changes(figure, scope)
    ends = times([scope.buckets[0], scope.end_at])
    figure.update_xaxes(range=ends, showgrid=False, type="date", tickformat=_tick_format(scope), nticks=plot.ticks)
    figure.update_xaxes(hoverformat="%a %d %b" if scope.bucket_ms == 86_400_000 else "%a %d %b %H:%M")
    figure.update_yaxes(rangemode="tozero", **_TICKS[plot.unit])
    if plot.unit == "share":
        figure.update_layout(yaxis_range=[0, max(0.02, 1.08 * _highest(figure))])
    figure.update_layout(dragmode="select" if plot.drag else "pan", selectdirection="h")
    key = f"{plot.key}-{scope.start_at}-{scope.end_at}"
    event = st.plotly_chart(
        figure, key=key, on_select="rerun", selection_mode=("points", "box"), alt=plot.alt, config=_SELECTING
    )
    _follow(event["selection"], scope)


def _follow(selection: Mapping[str, Any], scope: Scope) -> None:
    """Zoom to what was chosen on a time chart; a mark leads to its line in Changes."""
    boxes, points = selection.get("box") or [], selection.get("points") or []
    marks = [point for point in points if isinstance((point.get("customdata") or [0])[0], str)]
    if marks and not boxes:
        st.switch_page("pages/govern/changes.py", query_params={"at": marks[0]["customdata"][0].removeprefix("mark:")})
    span = _box_span(boxes[0]["x"]) if boxes else None
    if span is None and points and not marks:
        at = int(points[0]["customdata"][0])
        span = (at, at + scope.bucket_ms)
    if span and (max(span[0], scope.start_at), min(span[1], scope.end_at)) != (scope.start_at, scope.end_at):
        change_view(current_view().spanning(*span))
        st.rerun()


def _box_span(ends: Sequence[str]) -> tuple[int, int] | None:
    zone = data.zone()
    try:
        moments = sorted(datetime.fromisoformat(str(end)[:26]) for end in ends)
    except ValueError:
        return None
    start_at, end_at = (int(each.replace(tzinfo=zone).timestamp() * 1000) for each in (moments[0], moments[-1]))
    return (start_at, end_at) if end_at - start_at >= 1000 else None


def _mark_changes(figure: go.Figure, scope: Scope) -> None:
    """A dashed line per bucket with changes; hovering says who and why."""
    groups: dict[int, list[Marker]] = {}
    for marker in data.markers(scope):
        groups.setdefault(marker.at - marker.at % scope.bucket_ms, []).append(marker)
    marked = sorted(groups.items())[-_MOST_MARKS:]
    if not marked:
        return
    moments = times([group[0].at for _, group in marked])
    for moment in moments:
        figure.add_vline(moment, line={"color": ink(soft=True), "width": 1, "dash": "dot"}, opacity=0.6)
    figure.add_trace(
        go.Scatter(
            x=moments,
            y=[1.0] * len(moments),
            yaxis="y2",
            mode="markers",
            name="Changes",
            showlegend=False,
            marker={"symbol": [MARKS[group[0].kind] for _, group in marked], "size": 10, "color": ink()},
            customdata=[[f"mark:{group[0].at}"] for _, group in marked],
            hovertext=["<br>".join(_describe(marker) for marker in group[:4]) for _, group in marked],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )
    figure.update_layout(yaxis2={"overlaying": "y", "range": [0, 1.02], "visible": False, "fixedrange": True})


def _describe(marker: Marker) -> str:
    return f"{escape(_short(marker.title, 48))} by {escape(_short(marker.who))}: {escape(_short(marker.why, 60))}"


def style(figure: go.Figure, plot: Plot) -> None:
    """What all charts have in common."""
    figure.update_layout(
        height=plot.height,
        margin={"l": 4, "r": 8, "t": 10, "b": 4},
        hovermode="x unified",
        showlegend=plot.legend,
        legend={"orientation": "h", "y": -36 / plot.height, "x": 0, "traceorder": "normal", "font": {"size": 12}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"namelength": -1},
    )
    figure.update_xaxes(showgrid=False, zeroline=False, fixedrange=True)
    figure.update_yaxes(gridcolor=grid(), zeroline=False, title=None, fixedrange=True, automargin=True)


def times(moments: Sequence[int] | pd.Series) -> list[datetime]:
    """Moments (epoch ms) in the visitor's time, as the axis takes them."""
    zone = data.zone()
    return [fmt.moment(int(at), zone).replace(tzinfo=None) for at in moments]


def scaled(values: pd.Series, unit: Unit) -> pd.Series:
    """Values in the unit of the axis: dollars, seconds, or as they are."""
    return values.astype("float64") / _SCALES.get(unit, 1.0)


def _highest(figure: go.Figure) -> float:
    """The top of the first trace, or of the whole stack."""
    traces = figure.data if figure.layout.barmode == "stack" else figure.data[:1]
    heights: dict[Any, float] = {}
    for trace in traces:
        for at, value in zip(trace.x, trace.y, strict=False):
            heights[at] = heights.get(at, 0.0) + (0.0 if pd.isna(value) else float(value))
    return max(heights.values(), default=0.0)


def _tick_format(scope: Scope) -> str:
    if scope.length_ms <= 2 * 86_400_000:
        return "%H:%M"
    return "%a %d %b" if scope.length_ms <= 14 * 86_400_000 else "%d %b"


def _short(text: str, most: int = 28) -> str:
    flat = " ".join(str(text).split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


_SELECTING = {
    "displaylogo": False,
    "doubleClick": False,
    "modeBarButtons": [["select2d", "pan2d"]],
}
CONFIG = {"displayModeBar": False, "displaylogo": False, "doubleClick": False}
