"""One engine as a form, out of its declaration; what it says, in the form of the stored document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from backend.settings.knobs import EngineSpec
from backend.settings.knobs.engine import Speculation
from pages.components import format as fmt
from pages.components.knob import Knob, draw_knob, read_knobs, write_bounds

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Model": ("name", "kind", "server", "model", "served_name", "quantisation", "dtype", "max_model_len"),
    "Batching": ("max_running", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "prefix_caching"),
    "Money": ("usd_per_gpu_hour",),
}
REST = (
    *("tensor_parallel", "pipeline_parallel", "executor", "devices", "machine", "port"),
    *("offline", "cpu_kv_cache_gb", "cpu_threads", "extra_args"),
)
ATTACHED = (
    "name",
    "kind",
    "server",
    "model",
    "served_name",
    "base_url",
    "api_key_env",
    "max_running",
    "usd_per_gpu_hour",
)
GUESSING = {"off": ("method",), "ngram": ("method", "tokens", "lookup_max", "lookup_min")}


def draw_engine_form(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The fields that its kind has; the others keep what they hold."""
    knobs = {knob.name: knob for knob in read_knobs(EngineSpec)}
    drawn = dict(values)
    kind = st.session_state.get(f"{key}_kind", values.get("kind", "managed"))
    if kind == "attached":
        drawn |= _draw_group([knobs[name] for name in ATTACHED], values, key)
        return drawn
    for title, names in GROUPS.items():
        st.caption(title)
        drawn |= _draw_group([knobs[name] for name in names], values, key)
    st.caption("Speculation")
    drawn["speculation"] = _draw_speculation(values.get("speculation") or {}, f"{key}_speculation")
    with st.expander("Machine, adapters, more arguments"):
        drawn |= _draw_group([knobs[name] for name in REST], values, key)
        drawn["lora_modules"] = _draw_adapters(values.get("lora_modules") or (), f"{key}_lora")
    return {**drawn, "base_url": None, "api_key_env": None, "server": "vllm"}


def _draw_group(knobs: list[Knob], values: Mapping[str, Any], key: str) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    with st.grid(3, min_column_width=190, gap="small", border=False) as grid:
        for knob in knobs:
            held = values.get(knob.name)
            held = knob.default if held is None and not knob.optional else held
            with grid.cell():
                _draw_title(knob)
                drawn[knob.name] = draw_knob(knob, held, f"{key}_{knob.name}")
    return drawn


def _draw_title(knob: Knob) -> None:
    """Its name, its meaning on hovering, and whether a running engine takes it at once."""
    live = " :green-badge[at once]" if knob.applies in {None, "at once"} else ""
    st.markdown(
        f"**{fmt.plain(knob.title)}**{live}", help=fmt.plain(f"{knob.description} {write_bounds(knob)}".strip())
    )


def _draw_speculation(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    knobs = {knob.name: knob for knob in read_knobs(Speculation)}
    method = st.session_state.get(f"{key}_method", values.get("method", "off"))
    shown = GUESSING.get(method, ("method", "tokens", "draft_model"))
    return {**values, **_draw_group([knobs[name] for name in shown], values, key)}


def _draw_adapters(held: Any, key: str) -> list[dict[str, str]]:
    """LoRA adapters, one a line: name = folder."""
    text = "\n".join(f"{each['name']} = {each['path']}" for each in held)
    st.markdown(
        "**LoRA**", help="Adapters served beside the model under names of their own, one a line: name = folder."
    )
    typed = st.text_area(
        "LoRA", text, key=key, height=70, placeholder="name = folder, one a line", label_visibility="collapsed"
    )
    lines = [line.partition("=") for line in typed.splitlines() if line.strip()]
    return [{"name": name.strip(), "path": path.strip()} for name, _, path in lines]
