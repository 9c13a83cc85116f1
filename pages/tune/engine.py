"""The local engines: how each is, what it does, what a change would bring, how good it is, what its tokens cost."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from backend.reports.engine_course import read_engine_course
from backend.settings.knobs import EngineSpec
from pages.components import data
from pages.components.address import choose_section
from pages.components.cards import CALLS, card
from pages.components.charts import Plot, Unit, draw_lines
from pages.components.engine_acts import ask, open_asked
from pages.components.engine_history import draw_history, draw_log
from pages.components.engine_memory import draw_memory
from pages.components.engine_price import draw_price
from pages.components.engine_quality import draw_quality
from pages.components.engine_state import draw_engine_now
from pages.components.engine_sweeps import draw_sweeps
from pages.components.filters import current_view
from pages.components.shell import quietly_failing
from pages.components.view import View

PARTS = {
    "course": "Course",
    "sweeps": "Sweeps",
    "quality": "Quality",
    "price": "Price",
    "memory": "Memory",
    "history": "History",
    "log": "Log",
}
_CHARTS: dict[str, tuple[str, Unit, dict[str, str]]] = {
    "load": ("Requests", "count", {"running": "Running", "waiting": "Waiting"}),
    "tokens": (
        "Tokens per second",
        "count",
        {"completion_tokens_per_s": "Answered", "prompt_tokens_per_s": "Read"},
    ),
    "slow": ("Latency p95", "ms", {"ttft_p95": "TTFT", "itl_p95": "ITL", "total_p95": "Total"}),
    "shares": (
        "Caches and guesses",
        "share",
        {"kv_use": "KV cache in use", "prefix_hit_rate": "Prefix hits", "acceptance": "Guesses accepted"},
    ),
}


def draw() -> None:
    """The page: one engine at a time, chosen by the address."""
    version = data.settings()
    specs = version.settings.engine.engines
    spec = _choose(specs)
    if spec is None:
        _draw_nothing()
    else:
        draw_engine_now(spec.name)
        _draw_part(spec, current_view())
    open_asked(version)


def _choose(specs: tuple[EngineSpec, ...]) -> EngineSpec | None:
    with st.container(horizontal=True, vertical_alignment="center", key="engine_toolbar"):
        if specs:
            chosen = choose_section({each.name: each.name for each in specs}, "engine")
            st.space("stretch")
            st.button("Edit", icon=":material/edit:", key="engine_edit", on_click=ask, args=("Edit", chosen))
            st.button("Remove", icon=":material/delete:", key="engine_remove", on_click=ask, args=("Remove", chosen))
        st.button("Add", icon=":material/add:", key="engine_add", on_click=ask, args=("Add",), type="primary")
    return next((each for each in specs if each.name == chosen), None) if specs else None


def _draw_nothing() -> None:
    with st.container(border=True, key="nothing"):
        st.subheader("No engine yet", anchor=False)
        st.write(
            "An engine is a model on your own hardware: vLLM launched and watched here (`make engine` sets it up), or "
            "any OpenAI-compatible server that runs elsewhere, attached by its address. It becomes a deployment."
        )


def _draw_part(spec: EngineSpec, view: View) -> None:
    part = choose_section(PARTS, "part")
    with quietly_failing(PARTS[part]):
        if part == "course":
            _draw_course(spec, view)
        elif part == "sweeps":
            draw_sweeps(spec)
        elif part == "quality":
            draw_quality(spec)
        elif part == "price":
            draw_price(spec, view)
        elif part == "memory":
            draw_memory(spec)
        elif part == "history":
            draw_history(spec.name)
        else:
            draw_log(spec.name)


def _draw_course(spec: EngineSpec, view: View) -> None:
    frame = data.read(read_engine_course, view.scope(), spec.name)
    link = (CALLS, view.narrowed("deployment", spec.name).link())
    with st.grid(2, min_column_width=420, gap="small", border=False) as grid:
        for key, (title, _, _) in _CHARTS.items():
            with grid.cell(), card(title, link=link if key == "load" else None):
                _draw_chart(key, frame, spec.name, view)


def _draw_chart(key: str, frame: pd.DataFrame, name: str, view: View) -> None:
    title, unit, columns = _CHARTS[key]
    shown = {column: label for column, label in columns.items() if frame[column].notna().any()}
    if not shown:
        st.caption("No traffic in this range.")
        return
    draw_lines(frame, shown, view.scope(), Plot(f"engine_{key}", f"{title} of {name}", unit, 240))


draw()
