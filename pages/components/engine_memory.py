"""The memory planner: whether a model fits, what takes the room, how many calls its KV cache holds."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from backend.reports.engine_memory import (
    GIB,
    KV_BITS,
    PRECISIONS,
    Demand,
    MemoryPlan,
    Placement,
    plan_model,
    read_config,
)
from backend.settings.knobs import EngineSpec
from pages.components import format as fmt
from pages.components.cards import card


def draw_memory(spec: EngineSpec) -> None:
    """The question on the left, the answer on the right."""
    with st.grid(2, min_column_width=420, gap="small", border=False) as grid:
        with grid.cell(), card("Model and GPUs"):
            config, precision = _ask_model(spec)
            demand, placement = _ask_room(spec)
        with grid.cell(), card("What it takes on each GPU"):
            _answer(config, precision, demand, placement)


def _ask_model(spec: EngineSpec) -> tuple[str, str]:
    config = st.text_area(
        "config.json",
        read_config(spec.model) or "",
        key=f"memory_config_{spec.name}",
        height=120,
        help="The model's configuration as its folder or a hub shows it.",
    )
    precision = st.selectbox("Weights kept as", list(PRECISIONS), index=1, key="memory_precision")
    return config, precision


def _ask_room(spec: EngineSpec) -> tuple[Demand, Placement]:
    with st.grid(3, min_column_width=110, gap="small", border=False) as grid:
        with grid.cell():
            context = st.number_input("Context", 16, 10_000_000, spec.max_model_len or 8192, key="memory_context")
        with grid.cell():
            sequences = st.number_input("Calls at once", 1, 10_000, min(spec.max_num_seqs, 10_000), key="memory_calls")
        with grid.cell():
            cached = st.selectbox("KV cache as", list(KV_BITS), key="memory_kv")
        with grid.cell():
            gpus = st.number_input("GPUs", 1, 64, spec.tensor_parallel, key="memory_gpus")
        with grid.cell():
            each_gib = st.number_input("GiB each", 1.0, 1000.0, 80.0, key="memory_gib", format="%g")
        with grid.cell():
            share = st.number_input("Share used", 0.1, 1.0, spec.gpu_memory_utilization, 0.05, key="memory_share")
    return Demand(context, sequences, cached), Placement(gpus, int(each_gib * GIB), share)


def _answer(config: str, precision: str, demand: Demand, placement: Placement) -> None:
    if not config.strip():
        st.caption("Paste the model's config.json: its layers and heads say what it takes.")
        return
    try:
        parameters, found = plan_model(config, precision, demand, placement)
    except ValueError as error:
        st.error(fmt.plain(f"This cannot be planned: {error}."), icon=":material/error:")
        return
    tone, icon = ("green", ":material/check_circle:") if found.fits else ("red", ":material/block:")
    st.markdown(f":{tone}[{icon} **{'Fits' if found.fits else 'Does not fit'}**]: {fmt.plain(found.reason)}.")
    least = f"at least {found.least_gpus} GPUs of this size" if found.least_gpus else "no number of such GPUs would do"
    st.caption(fmt.plain(f"{fmt.count(parameters)} parameters; {least}."))
    st.dataframe(_frame(found), hide_index=True, alt="Memory by part", height="content")


def _frame(found: MemoryPlan) -> pd.DataFrame:
    rows = [
        (name, f"{size / GIB:,.2f} GiB", "estimate" if name in found.estimated else "counted")
        for name, size in found.parts.items()
    ]
    rows += [("all", f"{found.used_bytes / GIB:,.2f} GiB", ""), ("limit", f"{found.limit_bytes / GIB:,.2f} GiB", "")]
    return pd.DataFrame(rows, columns=["Part", "Size", ""])
