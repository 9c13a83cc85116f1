"""The evidence behind the threshold: nearness of questions, the verifier's honesty, labels, partitions."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from backend.reports.cache_evidence import (
    Decision,
    VerifierRow,
    labels_over_time,
    labels_summary,
    partitions_table,
    read_curve,
    read_verifier,
)
from backend.reports.cache_traffic import Measure, read_nearness
from backend.settings.store import Version
from pages.components import data
from pages.components import format as fmt
from pages.components.cache_charts import draw_curve, draw_nearness, write_threshold
from pages.components.cards import card
from pages.components.charts import Plot, draw_bars
from pages.components.rows import rows_of
from pages.components.view import View

_NONE = "No labels yet. Would-be hits are labelled once their fresh answer is compared with the cached one."


def draw_nearness_cards(view: View, made: Decision | None) -> None:
    """Two histograms side by side: what the vector search said, and what the verifier said."""
    left, right = st.columns(2)
    with left, card("Similarity", hint="Cosine of the question asked and the nearest one answered before."):
        _draw_nearness(view, "similarity", {})
    with right, card("Probability", hint="That both deserve the same answer. Refused by the gate: not drawn, it is 0."):
        lines = {f"served from {write_threshold(made.threshold)}": made.threshold} if made and made.threshold else {}
        _draw_nearness(view, "probability", lines)


def _draw_nearness(view: View, measure: Measure, lines: dict[str, float]) -> None:
    found = data.read(read_nearness, view.scope(), measure)
    if found.frame.empty:
        st.caption("No look-up of this range had an answered question near it.")
        return
    plot = Plot(f"nearness_{measure}", f"Look-ups by {measure}, by what came of them", height=260)
    draw_nearness(found.frame, plot, lines)
    if not found.whole:
        st.caption(f"The newest {found.compared:,} of the range.")


def draw_evidence(view: View, version: Version) -> None:
    """Is the verifier honest, how many labels are there, where do they come from."""
    left, right = st.columns([2, 3])
    with left, card("Said and come true", hint="Groups of equally many labels; bars are 95% intervals."):
        curve = data.read(read_curve)
        if curve.empty:
            st.caption(_NONE)
        else:
            draw_curve(curve, Plot("calibration_curve", "Verifier's probability against what came true", height=300))
    with right, card("Labels over time"):
        over = data.read(labels_over_time, view.scope())
        if over.groups:
            draw_bars(over, view.scope(), Plot("labels_over_time", "Labels over time by what they say", "count", 240))
        else:
            st.caption("No labels came in this range.")
        _draw_sources()
    with card("Verifier", hint="Says how probably two questions deserve one answer. Refitted on labels of your own."):
        _draw_verifier()
    with card(
        "Partitions", hint="Questions are compared only within one: same tenant, model, system prompt, sampling."
    ):
        _draw_partitions(version)


def _draw_sources() -> None:
    found = data.read(labels_summary)
    said = [f"{each.source}: {each.labels:,} ({each.different:,} different)" for each in found]
    if said:
        st.caption(fmt.plain(f"Of all time, compared {' · '.join(said)}"))


def _draw_verifier() -> None:
    found = data.read(read_verifier)
    waits = f" `{found.waiting}` is better and waits until it may serve, too." if found.waiting else ""
    st.markdown(f"In use: `{found.name}`.{waits}")
    if found.last is not None:
        st.markdown(fmt.plain(_describe_refit(found.last, data.freshness().read_at)))
    missing = f"{found.featured:,} labels to learn from; the next refit is tried at {found.next_at:,}."
    st.progress(min(1.0, found.featured / found.next_at), text=missing)


def _describe_refit(last: VerifierRow, now_at: int) -> str:
    came = "taken up" if last.adopted else "not taken up: it must be better by 0.01 for certain"
    gain = f"{last.gain:+.3f} nats a label against {last.replaces}, at least {last.gain_low:+.3f}"
    when = fmt.ago(last.fitted_at, now_at)
    return f"Refitted {when} on {last.labels:,} labels; on {last.held_out:,} it never saw: {gain}; {came}."


def _draw_partitions(version: Version) -> None:
    frame = data.read(partitions_table, version.settings.cache)
    if frame.empty:
        st.caption(_NONE)
        return
    now_at = data.freshness().read_at
    shown = pd.DataFrame(
        {
            "partition": [each[:12] or fmt.ABSENT for each in frame["partition"]],
            "tenant": frame["tenant"],
            "model": frame["model"],
            "labels": frame["labels"],
            "different": frame["different"],
            "share": [fmt.share(row.different / row.labels) for row in rows_of(frame)],
            "newest": [fmt.ago(int(at), now_at) for at in frame["newest_at"]],
            "state": [[each] for each in frame["state"]],
            "scope": frame["scope"],
            "reason": frame["reason"],
        }
    )
    st.dataframe(
        shown,
        hide_index=True,
        alt="Partitions with most labels first",
        height="content" if len(shown) < 9 else 345,
        column_config={
            "partition": st.column_config.TextColumn("Partition", width=110),
            "tenant": st.column_config.TextColumn("Tenant", width=70),
            "model": st.column_config.TextColumn("Model", width=120),
            "labels": st.column_config.NumberColumn("Labels", format="localized", width=70),
            "different": st.column_config.NumberColumn("Different", format="localized", width=80),
            "share": st.column_config.TextColumn("Share", alignment="right", width=70),
            "newest": st.column_config.TextColumn("Newest", width=86),
            "state": st.column_config.MultiselectColumn(
                "State", options=["observe", "exact only", "serving"], color=["blue", "orange", "green"], width=96
            ),
            "scope": st.column_config.TextColumn("Evidence", width=84, help="Its own, or pooled with all others."),
            "reason": st.column_config.TextColumn("Why", width="large"),
        },
    )
