"""Sweeps of one engine: begin one, watch it, read its curve beside others, put its sweet spot in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import streamlit as st

from backend.actions import (
    GatewayError,
    Signature,
    apply_sweep,
    cancel_sweep,
    plan_like_traffic,
    queue_sweep,
)
from backend.reports.engine_quality import find_line, read_quality_lines
from backend.reports.engine_sweeps import Plan, Sweep, read_shape, read_sweeps
from backend.settings.knobs import EngineSpec
from pages.components import data
from pages.components import format as fmt
from pages.components.cards import card
from pages.components.charts import Plot
from pages.components.engine_quality import write_agreement, write_ratio
from pages.components.engine_sweep_charts import SPEEDS, draw_delay, draw_speed
from pages.components.notices import notify
from pages.components.person import actor
from pages.components.shell import quietly_failing
from pages.components.signed_act import draw_signed_act

BEAT_S = 2
MOST_BESIDE = 4
_COLUMNS = {
    "concurrency": "At once",
    "shape": "Shape",
    "max_num_seqs": "Batch",
    "calls_per_s": "Calls/s",
    "goodput_per_s": "Within targets/s",
    "completion_tokens_per_s": "Tokens/s",
    "ttft_p95_ms": "TTFT p95",
    "itl_p95_ms": "ITL p95",
    "total_p95_ms": "Total p95",
    "failed": "Failed",
}


def draw_sweeps(spec: EngineSpec) -> None:
    """The form, what runs now, then the curve chosen."""
    sweeps = read_sweeps(data.console().ledger, None, 50)
    own = [each for each in sweeps if each.row.engine == spec.name]
    running = [each for each in own if each.is_running]
    if running:
        st.fragment(_draw_running, run_every=BEAT_S)(spec.name)
    else:
        with st.expander("New sweep", icon=":material/add_chart:", expanded=not own):
            _draw_form(spec)
    measured = [each for each in sweeps if len(each.curve)]
    if any(each.row.engine == spec.name for each in measured):
        _draw_results(spec, measured)
    elif not running:
        st.caption("Not swept yet: a sweep sends real load, ever more at once, and finds where the engine runs best.")


def _draw_form(spec: EngineSpec) -> None:
    with st.form("sweep", border=False), st.grid(3, min_column_width=200, gap="small", border=False) as grid:
        with grid.cell():
            counts = st.text_input("Calls at once", "1, 2, 4, 8, 16, 32", key="sweep_counts")
        with grid.cell():
            shape = st.text_input(
                "Shape", "256:64", key="sweep_shape", help="Tokens in : tokens out, several with commas."
            )
        with grid.cell():
            batch = st.text_input(
                "Batches",
                "",
                key="sweep_batches",
                placeholder="as it runs",
                help="max_num_seqs to launch it anew with.",
            )
        with grid.cell():
            seconds = st.number_input("Seconds a load", 1.0, 600.0, 10.0, key="sweep_seconds", format="%g")
        with grid.cell():
            reason = st.text_input("Why", key="sweep_reason", placeholder="A reason, for whoever reads this later")
        with grid.cell():
            like = st.toggle(
                "Shapes of recorded calls", key="sweep_like", help="Drawn from what this engine was asked."
            )
        asked = st.form_submit_button("Run sweep", type="primary", icon=":material/play_arrow:")
    if asked:
        _begin(spec, (counts, shape, batch, seconds), reason, like=like)


def _begin(spec: EngineSpec, typed: tuple[str, str, str, float], reason: str, *, like: bool) -> None:
    counts, shape, batch, seconds = typed
    engine = data.console().engine
    try:
        if not reason.strip():
            raise ValueError("A sweep needs a reason.")
        shapes = tuple(read_shape(each) for each in shape.split(","))
        plan = replace(
            Plan(_numbers(counts), shapes, max_num_seqs=_numbers(batch)), measure_s=seconds, warm_up_s=min(2.0, seconds)
        )
        plan = plan_like_traffic(engine, spec.name, plan) if like else plan
        queue_sweep(engine, spec.name, plan, Signature(actor(), reason))
    except (GatewayError, ValueError) as error:
        st.error(fmt.plain(str(getattr(error, "message", error))), icon=":material/error:")
        return
    notify("The sweep runs as soon as the engine's keeper takes it up.")
    st.rerun()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.replace(",", " ").split())


def _draw_running(name: str) -> None:
    """The sweep under way: how far it is, what it measured so far, the way to end it."""
    with quietly_failing("The sweep"):
        found = next((each for each in read_sweeps(data.console().ledger, name, 5) if each.is_running), None)
        if found is None:
            st.rerun()
            return
        with st.container(horizontal=True, vertical_alignment="center", border=True, key="sweep_running"):
            done = f"{len(found.curve)} loads measured" if found.row.state == "running" else "waiting for the keeper"
            st.progress(found.row.progress, text=fmt.plain(f"Sweep: {done}"), width="stretch")
            if st.button("Cancel", key="sweep_cancel"):
                _cancel(found)
        if len(found.curve):
            draw_speed([found], "completion_tokens_per_s", Plot("sweep_live", "Tokens per second so far", height=220))


def _cancel(found: Sweep) -> None:
    try:
        cancel_sweep(data.console().engine, found.row.id, Signature(actor(), "cancelled on the page"))
    except GatewayError as error:
        notify(error.message, ":material/error:")
    st.rerun()


def _draw_results(spec: EngineSpec, measured: Sequence[Sweep]) -> None:
    names = {each.row.id: _name(each) for each in measured}
    own = [each.row.id for each in measured if each.row.engine == spec.name]
    with st.container(horizontal=True, vertical_alignment="bottom", key="sweep_choice"):
        chosen = st.selectbox("Sweep", own, format_func=names.__getitem__, key=f"sweep_shown_{spec.name}")
        others = [each for each in names if each != chosen]
        beside = st.multiselect(
            "Beside", others, format_func=names.__getitem__, max_selections=MOST_BESIDE, key=f"sweep_beside_{spec.name}"
        )
    by_id = {each.row.id: each for each in measured}
    shown = [by_id[each] for each in (chosen, *beside)]
    _draw_verdict(spec, shown[0])
    with st.grid(2, min_column_width=420, gap="small", border=False) as grid:
        with grid.cell(), card("Throughput by calls at once"):
            speed = st.segmented_control(
                "Measure",
                list(SPEEDS),
                format_func=SPEEDS.__getitem__,
                required=True,
                key="sweep_measure",
                default="completion_tokens_per_s",
                label_visibility="collapsed",
            )
            draw_speed(shown, speed or "completion_tokens_per_s", Plot("sweep_speed", "Throughput by calls at once"))
        with grid.cell(), card("Latency by calls at once"):
            draw_delay(shown, Plot("sweep_delay", "Latency by calls at once", "ms"))
    _draw_table(shown)


def _name(sweep: Sweep) -> str:
    state = "" if sweep.row.state == "done" else f", {sweep.row.state}"
    return f"{sweep.row.engine} {fmt.clock(sweep.row.created_at, data.zone())}: {sweep.row.reason}{state}"


def _draw_verdict(spec: EngineSpec, sweep: Sweep) -> None:
    """What was found, and the button that puts it in force."""
    rates = sweep.rates(spec)
    with st.container(horizontal=True, vertical_alignment="center", border=True, key="sweep_verdict"):
        icon = ":material/star:" if sweep.sweet is not None else ":material/info:"
        cost = ""
        if rates is not None:
            told = (fmt.money(rates.input_nusd_per_mtok), fmt.money(rates.output_nusd_per_mtok))
            cost = f" {told[0]} in and {told[1]} out per million tokens at full load."
        said = sweep.row.message if sweep.row.state == "failed" else sweep.reason
        st.markdown(f"{icon} {fmt.plain(f'{said}.{cost}')}", width="stretch")
        if sweep.sweet is not None and st.button("Apply", type="primary", key="sweep_apply"):
            _apply(sweep)


@st.dialog("Apply the sweet spot", icon=":material/star:")
def _apply(sweep: Sweep) -> None:
    spot = sweep.curve.iloc[sweep.sweet or 0]
    st.markdown(f"Admission window: **{spot['concurrency']}** calls at once, in force at once.")
    if pd.notna(spot["max_num_seqs"]):
        st.markdown(f"Batch: **{spot['max_num_seqs']:.0f}**, staged until the next launch.")

    def do(by: Signature) -> str:
        return f"Settings version {apply_sweep(data.console().engine, sweep.row.id, by).version} is in force."

    draw_signed_act("Apply", "sweep_apply", do)


def _draw_table(shown: Sequence[Sweep]) -> None:
    frame = pd.concat([each.curve.assign(engine=each.row.engine) for each in shown], ignore_index=True)
    table = pd.DataFrame({title: _write(frame[name], name) for name, title in _COLUMNS.items()})
    table.insert(0, "", ["★" if sweet else "" for sweet in frame["sweet"]])
    if len(shown) > 1:
        table.insert(1, "Engine", frame["engine"])
    _add_quality(table, shown)
    st.dataframe(table, hide_index=True, alt="What each load measured", height="content" if len(table) <= 15 else 560)


def _add_quality(table: pd.DataFrame, shown: Sequence[Sweep]) -> None:
    """Beside every load what its engine's answers are worth, where any of the sweeps' engines was judged."""
    specs = data.settings().settings.engine.engines
    lines = data.read(read_quality_lines, specs)
    found = [(find_line(lines, sweep, specs), len(sweep.curve)) for sweep in shown]
    if any(line is not None and line.judged for line, _ in found):
        table["× reference"] = [write_ratio(line) for line, loads in found for _ in range(loads)]
        table["Agreement"] = [write_agreement(line) for line, loads in found for _ in range(loads)]


def _write(column: pd.Series, name: str) -> list[str]:
    if name.endswith("_ms"):
        return [fmt.duration(None if pd.isna(each) else float(each)) for each in column]
    if name.endswith("_per_s"):
        return [f"{each:,.1f}" for each in column]
    return ["" if pd.isna(each) else f"{each:.0f}" if isinstance(each, float) else str(each) for each in column]
