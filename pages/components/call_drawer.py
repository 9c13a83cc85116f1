"""One call in full, in a drawer with an address of its own: messages, decisions, timing, cost, raw."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st

from backend.reports.call_detail import CallDetail, CostBreakdown, read_call_detail
from backend.reports.decision_trace import Step
from pages.components import data
from pages.components import format as fmt
from pages.components.call_messages import draw_messages
from pages.components.call_timing import draw_timing
from pages.components.colors import CACHE_TONES, STATUS_TONES
from pages.components.shell import quietly_failing

OUTCOMES = {
    "done": ":green[:material/check_circle:]",
    "skipped": ":gray[:material/remove_circle:]",
    "failed": ":red[:material/cancel:]",
    "waiting": ":blue[:material/pending:]",
}
CALLS, CHANGES = "pages/observe/calls.py", "pages/govern/changes.py"


def open_call(call_id: str) -> None:
    """Show the drawer over the page."""
    st.dialog("Call", width=680, position="right", on_dismiss=close_call)(_draw)(call_id)


def close_call() -> None:
    """Take the call out of the address."""
    st.query_params.pop("call", None)


def _draw(call_id: str) -> None:
    detail = data.read(read_call_detail, call_id)
    if detail is None:
        st.subheader("No such call", anchor=False)
        st.write("The ledger has no call of this id. It may still be on its way, or past its retention.")
        st.code(call_id, language=None)
        return
    _draw_head(detail)
    messages, trace, timing, cost, raw = st.tabs(["Messages", "Decisions", "Timing", "Cost", "Raw"])
    with messages, quietly_failing("Messages"):
        draw_messages(detail)
    with trace, quietly_failing("Decisions"):
        _draw_trace(detail)
    with timing, quietly_failing("Timing"):
        draw_timing(detail)
    with cost, quietly_failing("Cost"):
        _draw_cost(detail.cost, detail)
    with raw, quietly_failing("Raw"):
        st.code(json.dumps(dict(detail.columns), indent=2, default=str, ensure_ascii=False), language="json")
        st.code(json.dumps(list(detail.attempts), indent=2, default=str, ensure_ascii=False), language="json")


def _draw_head(detail: CallDetail) -> None:
    columns = detail.columns
    status = "open" if columns["state"] == "open" else columns["status"] or "open"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(status, color=STATUS_TONES.get(status, "gray"))
        if columns["cache_kind"]:
            st.badge(f"cache {columns['cache_kind']}", color=CACHE_TONES.get(columns["cache_kind"], "gray"))
        if detail.simulated:
            st.badge("simulated", icon=":material/science:", color="orange")
        st.text(fmt.clock(columns["started_at"], data.zone()))
    asked, served = columns["model"] or fmt.ABSENT, columns["deployment"]
    st.text(f"{asked} → {served}" if served else asked)
    tokens = f"{fmt.count(columns['prompt_tokens'])} + {fmt.count(columns['completion_tokens'])}"
    estimated = columns["state"] == "estimated"
    with st.grid(4, min_column_width=120, gap="small"):
        st.metric(
            "Cost",
            fmt.money(columns["cost_nusd"], estimated=estimated) if status != "open" else fmt.ABSENT,
            border=True,
        )
        st.metric("Latency", fmt.duration(columns["latency_ms"]), border=True)
        st.metric("TTFT", fmt.duration(columns["ttft_ms"]), border=True)
        st.metric("Tokens in + out", tokens, border=True)
    st.code(detail.id, language=None)


def _draw_trace(detail: CallDetail) -> None:
    for step in detail.trace:
        _draw_step(step)
    with st.container(horizontal=True):
        if detail.columns["settings_version"] is not None:
            version = str(detail.columns["settings_version"])
            link = {"version": version}
            st.page_link(CHANGES, label=f"Settings version {version}", icon=":material/history:", query_params=link)
        if detail.columns["source_call_id"]:
            link = {"call": detail.columns["source_call_id"]}
            st.page_link(CALLS, label="Call whose answer was replayed", icon=":material/reply:", query_params=link)
        if detail.columns["session_id"]:
            link = {"q": detail.columns["session_id"], "range": "90d"}
            st.page_link(CALLS, label="Calls of this session", icon=":material/link:", query_params=link)


def _draw_step(step: Step) -> None:
    detail = f"  \n:gray[{fmt.plain(step.detail)}]" if step.detail else ""
    st.markdown(f"{OUTCOMES[step.outcome]} **{fmt.plain(step.title)}** :gray-badge[{step.stage}]{detail}")


def _draw_cost(cost: CostBreakdown, detail: CallDetail) -> None:
    if cost.total_nusd is None:
        st.warning("Unpriced: nobody has said what this model costs, or its usage is unknown. It is in no total.")
    if cost.parts:
        st.dataframe(_cost_frame(cost), hide_index=True, alt="Cost by bucket", column_config=_COST_COLUMNS)
    elif cost.total_nusd == 0:
        st.caption("Free: answered without calling a model.")
    if cost.per_call_nusd:
        st.caption(f"Plus {fmt.money(cost.per_call_nusd)} per call.")
    if cost.parts and not cost.explained:
        st.caption(
            ":orange[:material/warning:] The parts do not add up to the recorded cost; the recorded cost counts."
        )
    for note in cost.notes:
        st.caption(fmt.plain(note.replace("_", " ")))
    facts: dict[str, Any] = {
        "Recorded cost": fmt.money(cost.total_nusd, estimated=detail.columns["state"] == "estimated"),
        "Without Governor": fmt.money(detail.columns["baseline_nusd"]),
        "Saved": fmt.money(detail.columns["saved_nusd"]) if detail.columns["saved_nusd"] is not None else fmt.ABSENT,
        "Usage": detail.columns["usage_source"] or fmt.ABSENT,
        "Price": fmt.plain(detail.columns["price_id"] or fmt.ABSENT),
    }
    st.table(facts, border="horizontal", width="content")


def _cost_frame(cost: CostBreakdown) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "bucket": part.bucket.replace("_", " "),
                "tokens": part.tokens,
                "rate": fmt.money(part.rate_nusd_per_mtok),
                "cost": fmt.money(None if part.nusd is None else round(part.nusd)),
            }
            for part in cost.parts
        ]
    )


_COST_COLUMNS = {
    "bucket": st.column_config.TextColumn("Bucket"),
    "tokens": st.column_config.NumberColumn("Tokens", format="localized"),
    "rate": st.column_config.TextColumn("Per million", alignment="right"),
    "cost": st.column_config.TextColumn("Cost", alignment="right"),
}
