"""What people do with engines: start, stop, restart, apply, remove, each with a reason; add and edit as settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from backend.actions import (
    Signature,
    apply_engine,
    remove_engine,
    restart_engine,
    start_engine,
    stop_engine,
)
from backend.reports.engines import PRESETS
from backend.settings.document import dump
from backend.settings.store import Version
from pages.components import data
from pages.components import format as fmt
from pages.components.engine_form import draw_engine_form
from pages.components.engine_state import ACT
from pages.components.settings_form import Draft, epoch, finish_draft
from pages.components.signed_act import draw_signed_act

NEW: Mapping[str, Any] = {"name": "", "kind": "managed", "server": "vllm", "model": ""}
_ACTS = {
    "Start": (start_engine, "Its keeper launches it; that takes from seconds to minutes."),
    "Watch": (start_engine, "Its keeper checks it from then on, and sends calls to it."),
    "Stop": (stop_engine, "It finishes its calls. Its deployment stays: further calls fall back, or fail visibly."),
    "Restart": (restart_engine, "It ends and starts with what it was launched with; what is staged stays staged."),
    "Apply": (
        apply_engine,
        "It is measured, launched with what is staged, measured again, and taken back if a target breaks.",
    ),
    "Remove": (remove_engine, "It ends, and its deployments leave the settings. Calls already made keep its name."),
}


def open_asked(version: Version) -> None:
    """The dialog that somebody asked for in this run, if any."""
    act, name = st.session_state.pop(ACT, (None, ""))
    if act in {"Add", "Edit"}:
        _edit(name, version)
    elif act:
        _confirm(act, name)


def ask(act: str, name: str = "") -> None:
    """Have the run that follows open this act's dialog."""
    st.session_state[ACT] = (act, name)


@st.dialog("Engine", icon=":material/memory:")
def _confirm(act: str, name: str) -> None:
    run, meaning = _ACTS[act]
    st.markdown(f"**{act} {fmt.plain(name)}**  \n{meaning}")

    def do(by: Signature) -> str:
        run(data.console().engine, name, by)
        return f"{act}: asked of {name}."

    draw_signed_act(act, "engine", do)


@st.dialog("Engine", width="large", icon=":material/memory:")
def _edit(name: str, version: Version) -> None:
    document = dump(version.settings)
    section = document["engine"]
    held = next((each for each in section["engines"] if each["name"] == name), None)
    key = f"engine_{name}_{epoch()}"
    if held is None:
        preset = st.selectbox(
            "Start from", list(PRESETS), index=None, placeholder="vLLM's own choice", key=f"{key}_preset"
        )
        held, key = {**NEW, **PRESETS.get(preset or "", {})}, f"{key}_{preset}"
    drawn = draw_engine_form(held, key)
    engines = [drawn if each["name"] == name else each for each in section["engines"]]
    engines = engines if name else [*engines, drawn]
    finish_draft(Draft({**document, "engine": {**section, "engines": engines}}, version))
