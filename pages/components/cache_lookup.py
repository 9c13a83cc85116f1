"""What a prompt would meet in the caches: the nearest questions, the gate's verdict, and whether one is served."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from backend.settings.store import Version
from pages.components import data
from pages.components import format as fmt
from pages.components.cards import card
from pages.components.control_client import GatewaySilent, ask_control

_FOUND = "_lookup_found"


def draw_lookup(version: Version) -> None:
    """The form and what came of it; asking counts as no call and no hit."""
    with card("Look up a prompt", hint="Runs the code of a call: it counts as no call and keeps nothing."):
        with st.form("cache_lookup", border=False):
            question = st.text_area(
                "Question", key="lookup_question", height=80, placeholder="As a caller would ask it"
            )
            with st.container(horizontal=True, vertical_alignment="bottom"):
                models = sorted({each.model for each in version.settings.deployments})
                model = st.selectbox("Model", models, key="lookup_model", accept_new_options=True, width=260)
                system = st.text_input("System prompt", key="lookup_system", placeholder="none")
                tenant = st.text_input("Tenant", key="lookup_tenant", placeholder="where there are keys", width=180)
                asked = st.form_submit_button("Look up", type="primary")
        if asked:
            st.session_state[_FOUND] = _ask(question, model, system, tenant)
        found = st.session_state.get(_FOUND)
        if isinstance(found, str):
            st.error(fmt.plain(found), icon=":material/error:")
        elif found:
            _draw_found(found)


def _ask(question: str, model: str | None, system: str, tenant: str) -> dict[str, Any] | str:
    """The gateway's answer, or what went wrong."""
    if not question.strip() or not model:
        return "A look-up needs a question and a model."
    turns = [{"role": "system", "content": system}] if system.strip() else []
    body: dict[str, Any] = {"model": model, "messages": [*turns, {"role": "user", "content": question}]}
    if tenant.strip():
        body["tenant"] = tenant.strip()
    try:
        return ask_control("POST", "/control/cache/lookup", body)
    except GatewaySilent as error:
        return str(error)


def _draw_found(found: dict[str, Any]) -> None:
    exact, nearest = found.get("exact"), found.get("nearest") or []
    served = next((each for each in nearest if each["would_serve"]), None)
    with st.container(horizontal=True, vertical_alignment="center"):
        if exact:
            st.badge("Exact hit", icon=":material/check_circle:", color="green")
        elif served:
            st.badge("Semantic hit", icon=":material/check_circle:", color="violet")
        else:
            st.badge("Miss", color="gray")
        st.caption(fmt.plain(_explain(found)))
    if nearest:
        _draw_nearest(nearest)


def _explain(found: dict[str, Any]) -> str:
    exact, decision = found.get("exact"), found.get("decision")
    parts = []
    if exact:
        parts.append(f"answer of call {exact['call_id']}")
    elif found.get("exact_reason"):
        parts.append(f"exact: {found['exact_reason']}")
    if decision:
        parts.append(f"{decision['state']}: {decision['reason']} ({decision['scope']})")
    if found.get("reason"):
        parts.append(str(found["reason"]))
    if found.get("partition"):
        parts.append(f"partition {found['partition'][:12]}")
    if decision and not found.get("nearest"):
        parts.append("no answered question near this one")
    return " · ".join(parts)


def _draw_nearest(nearest: list[dict[str, Any]]) -> None:
    now_at = data.freshness().read_at
    frame = pd.DataFrame(
        {
            "serve": [["served"] if each["would_serve"] else ["not served"] for each in nearest],
            "question": [each["question"] for each in nearest],
            "similarity": [each["similarity"] for each in nearest],
            "probability": [each["probability"] for each in nearest],
            "gate": [_write_gate(each["gate"]) for each in nearest],
            "stored": [fmt.ago(each["stored_at"], now_at) for each in nearest],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        alt="Nearest answered questions",
        column_config={
            "serve": st.column_config.MultiselectColumn(
                "", options=["served", "not served"], color=["green", "gray"], width=90
            ),
            "question": st.column_config.TextColumn("Answered question", width="large"),
            "similarity": st.column_config.ProgressColumn(
                "Similarity", format="%.3f", min_value=0.0, max_value=1.0, width=110
            ),
            "probability": st.column_config.NumberColumn("Probability", format="%.4f", width=90),
            "gate": st.column_config.TextColumn("Gate", width="medium"),
            "stored": st.column_config.TextColumn("Stored", width=90),
        },
    )


def _write_gate(gate: dict[str, Any]) -> str:
    return "agrees" if gate["agrees"] else "; ".join(gate["findings"])
