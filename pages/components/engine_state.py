"""How one engine is right now: its state with what can be done about it, what is staged, its live figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from backend.reports.engine_course import Pulse, read_pulses
from backend.reports.engines import EngineLine, read_engine_lines
from pages.components import data
from pages.components import format as fmt
from pages.components.colors import Tone
from pages.components.settings_form import write_knob
from pages.components.shell import quietly_failing

BEAT_S = 2
STALE_S = 60.0
ACT = "_engine_act"
_SAID: Mapping[str, tuple[Tone, str, str]] = {
    "stopped": ("gray", ":material/stop_circle:", "It does not run; calls to it fall back or fail."),
    "starting": ("blue", ":material/hourglass_top:", "It loads; it is ready with its first token."),
    "ready": ("green", ":material/check_circle:", "It answers: a token was generated a moment ago."),
    "ill": ("red", ":material/error:", "Its checks fail."),
    "changing": ("blue", ":material/swap_horiz:", "What was staged is applied and measured."),
    "stopping": ("orange", ":material/hourglass_bottom:", "It finishes its calls."),
    "waiting": ("red", ":material/restart_alt:", "It failed and is started again after a pause."),
    "unkept": (
        "orange",
        ":material/person_off:",
        "No keeper looks after it: run governor up, or governor engine keep.",
    ),
}


def draw_engine_now(name: str) -> None:
    """State and live figures, looked at every two seconds."""
    st.fragment(_draw_now, run_every=BEAT_S)(name)


def _draw_now(name: str) -> None:
    with quietly_failing("The engine's state"):
        lines = read_engine_lines(data.console().ledger, data.settings().settings)
        line = next((each for each in lines if each.name == name), None)
        if line is None:
            st.rerun()
            return
        _draw_state(line)
        if line.staged:
            _draw_staged(line)
        _draw_figures(line, read_pulses(data.console().ledger).get(name))


def _draw_state(line: EngineLine) -> None:
    tone, icon, meaning = _SAID[line.state]
    said = line.row.message if line.row and line.row.message else meaning
    with st.container(horizontal=True, wrap=True, vertical_alignment="center", border=True, key="engine_state"):
        st.badge(line.state, icon=icon, color=tone, width="content")
        st.markdown(f"{fmt.plain(_describe(line))} :gray[{fmt.plain(said)}]", width="stretch")
        for act in _acts(line):
            if st.button(
                act, key=f"engine_{act.lower()}", type="primary" if act in {"Start", "Watch"} else "secondary"
            ):
                st.session_state[ACT] = (act, line.name)
                st.rerun()


def _describe(line: EngineLine) -> str:
    spec = line.launched or line.spec
    if spec is None:
        return "Removed from the settings."
    parts = [f"{spec.served} · {spec.server}"]
    if spec.kind == "managed" and spec.quantisation != "none":
        parts.append(spec.quantisation)
    if line.row and line.row.port:
        parts.append(f"port {line.row.port}")
    if line.row and line.row.restarts:
        parts.append(f"{line.row.restarts} restarts")
    return f"{' · '.join(parts)}."


def _acts(line: EngineLine) -> list[str]:
    """What can be asked of it as it is."""
    if line.spec is None:
        return []
    if line.row is None or line.row.wanted == "stopped":
        return ["Watch" if line.spec.kind == "attached" else "Start"]
    return ["Stop"] if line.spec.kind == "attached" else ["Restart", "Stop"]


def _draw_staged(line: EngineLine) -> None:
    """What waits for the next launch, and the button that makes it."""
    told = ", ".join(
        f"{change['path']} {write_knob(change['before'])} → {write_knob(change['after'])}" for change in line.staged[:4]
    )
    more = f" and {len(line.staged) - 4} more" if len(line.staged) > 4 else ""
    with st.container(horizontal=True, vertical_alignment="center", border=True, key="engine_staged"):
        text = f":material/pending_actions: Staged: {fmt.plain(told + more)}"
        st.markdown(text, width="stretch", help="Knobs that a running engine takes only with a launch.")
        if st.button("Apply", type="primary", key="engine_apply", disabled=line.state not in {"ready", "ill"}):
            st.session_state[ACT] = ("Apply", line.name)
            st.rerun()


def _draw_figures(line: EngineLine, pulse: Pulse | None) -> None:
    if pulse is None or pulse.age_s > STALE_S:
        if line.state == "ready":
            st.caption("No reading of its metrics yet." if pulse is None else "Its metrics cannot be read just now.")
        return
    figures = pulse.figures
    tiles = [
        ("Running", fmt.count(figures.get("running")), f"{fmt.count(figures.get('waiting'))} waiting"),
        ("KV cache", fmt.share(figures.get("kv_use")), f"{fmt.count(figures.get('preemptions') or 0)} preempted"),
        (
            "Answer tokens/s",
            _rate(figures.get("completion_tokens_per_s")),
            f"{_rate(figures.get('prompt_tokens_per_s'))} read",
        ),
        ("TTFT p95", _slow(figures, "ttft"), _median(figures, "ttft")),
        ("ITL p95", _slow(figures, "itl"), _median(figures, "itl")),
        ("Prefix hits", _share(figures, "prefix_hit_rate"), "of prompt tokens"),
    ]
    if figures.get("acceptance") is not None:
        per_draft = figures.get("tokens_per_draft") or 1
        tiles.append(("Guesses accepted", fmt.share(figures["acceptance"]), f"{per_draft:.2f} tokens a step"))
    with st.grid(len(tiles), min_column_width=130, gap="small"):
        for title, value, note in tiles:
            st.metric(title, value, note, delta_color="off", delta_arrow="off", border=True, height="stretch")
    _draw_gpus(figures.get("gpus") or ())


def _rate(value: float | None) -> str:
    return "No traffic" if value is None else fmt.count(value) if value >= 100 else f"{value:.1f}"


def _share(figures: Mapping[str, Any], name: str) -> str:
    return "No traffic" if figures.get(name) is None else fmt.share(figures[name])


def _slow(figures: Mapping[str, Any], name: str) -> str:
    found = figures.get(name)
    return fmt.duration(found["p95_ms"]) if found else "No traffic"


def _median(figures: Mapping[str, Any], name: str) -> str:
    found = figures.get(name)
    return f"p50 {fmt.duration(found['p50_ms'])}" if found else "in the last seconds"


def _draw_gpus(gpus: Any) -> None:
    if not gpus:
        st.caption("No NVIDIA GPU is seen on its machine: no memory, power or temperature to show.")
        return
    for gpu in gpus:
        used, whole = gpu["memory_used_bytes"] / 2**30, gpu["memory_bytes"] / 2**30
        told = [f"{used:,.1f} of {whole:,.0f} GiB"]
        if gpu.get("utilization") is not None:
            told.append(f"{fmt.share(gpu['utilization'])} busy")
        if gpu.get("power_w") is not None:
            told.append(f"{gpu['power_w']:,.0f} W")
        if gpu.get("temperature_c") is not None:
            told.append(f"{gpu['temperature_c']} °C")
        st.progress(min(1.0, used / whole), text=fmt.plain(f"GPU {gpu['number']} {gpu['name']}: {' · '.join(told)}"))
