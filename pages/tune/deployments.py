"""Who answers for which model: add, change, remove and try deployments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from backend.reports.filters import preset_scope
from backend.reports.latency import latency_by
from backend.reports.spend import spend_by
from backend.settings.document import dump
from backend.settings.knobs import Deployment
from backend.settings.store import Version
from pages.components import data
from pages.components import format as fmt
from pages.components.answer_view import draw_answer
from pages.components.cards import CALLS
from pages.components.deployment_form import draw_form
from pages.components.gateway_client import Question, try_deployment
from pages.components.price_form import state_price
from pages.components.rows import rows_of
from pages.components.settings_form import Draft, epoch, finish_draft
from pages.components.shell import quietly_failing
from pages.components.view import View

NEW: dict[str, Any] = {"name": "", "model": "", "provider": "openai"}
NUMBERS = {"calls": ("Calls 24 h", 86), "failed": ("Failed", 66), "p95": ("p95", 72), "cost": ("Cost 24 h", 84)}
ACTS = ("Edit", "Try", "Calls", "Remove")


def draw() -> None:
    """The page."""
    version = data.settings()
    found = version.settings.deployments
    with st.container(horizontal=True, horizontal_alignment="right", key="deployments_toolbar"):
        st.button("State a price", icon=":material/sell:", key="price_new", on_click=_choose, args=("Price", ""))
        st.button(
            "Add", type="primary", icon=":material/add:", key="deployment_new", on_click=_choose, args=("Add", "")
        )
    if found:
        st.caption("Each answers for one model name; deployments of the same model share its calls by weight.")
        _draw_list(found)
    else:
        st.caption("None: every call is refused until there is one.")
    act, name = st.session_state.pop("_deployment_act", (None, ""))
    if act:
        _open(act, name, version)


def _choose(act: str, name: str) -> None:
    st.session_state["_deployment_act"] = (act, name)


def _open(act: str, name: str, version: Version) -> None:
    if act == "Price":
        state_price()
    elif act == "Try":
        _try(next(each for each in version.settings.deployments if each.name == name))
    elif act == "Calls":
        st.switch_page(CALLS, query_params=View().narrowed("deployment", name).link())
    elif act == "Remove":
        _remove(name, version)
    else:
        _edit(name, version)


def _draw_list(found: tuple[Deployment, ...]) -> None:
    st.session_state["_listed_deployments"] = [each.name for each in found]
    frame = _frame(found)
    with quietly_failing("The last day's figures"):
        frame = frame.join(_figures(), on="name")
    for column in ("calls", "failed", "p95", "cost"):
        frame[column] = frame[column].astype("object").fillna("") if column in frame else ""
    st.dataframe(
        frame,
        hide_index=True,
        alt="Deployments",
        row_height=32,
        height="content" if len(found) <= 15 else 560,
        column_order=["act", "name", "model", "provider", *NUMBERS, "weight", "price", "target", "credential"],
        column_config={
            "name": st.column_config.TextColumn("Name", width=190),
            "model": st.column_config.TextColumn("Model", width=165),
            "provider": st.column_config.TextColumn("Provider", width=90),
            **{name: _number(title, width) for name, (title, width) in NUMBERS.items()},
            "weight": st.column_config.NumberColumn("Weight", width=66),
            "price": st.column_config.TextColumn("Price", width=110),
            "target": st.column_config.TextColumn("Sent to", width=220),
            "credential": st.column_config.TextColumn("Credential", width=150),
            "act": st.column_config.ButtonColumn("", on_click=_on_act, key="deployment_act", width=64),
        },
    )


def _number(title: str, width: int) -> Any:
    return st.column_config.TextColumn(title, width=width, alignment="right")


def _on_act() -> None:
    click = st.session_state["deployment_act"]
    listed = st.session_state.get("_listed_deployments", [])
    if click is not None and 0 <= click["row"] < len(listed):
        _choose(click["label"], listed[click["row"]])


def _frame(found: tuple[Deployment, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": [each.name for each in found],
            "model": [each.model for each in found],
            "provider": [each.provider for each in found],
            "target": [_target(each) for each in found],
            "credential": [each.api_key_env or "" for each in found],
            "weight": [each.weight for each in found],
            "price": [_price(each) for each in found],
            "act": [list(ACTS) for _ in found],
        }
    )


def _target(deployment: Deployment) -> str:
    return " at ".join(part for part in (deployment.upstream_model, deployment.base_url) if part)


def _price(deployment: Deployment) -> str:
    if deployment.price is not None:
        return f"${deployment.price.input:f} + ${deployment.price.output:f}"
    return f"as {deployment.price_model}" if deployment.price_model else "list"


def _figures() -> pd.DataFrame:
    """What each deployment did in the last day, by its name."""
    scope = preset_scope("24h")
    spend = data.read(spend_by, scope, "deployment").frame.set_index("value")
    slow = data.read(latency_by, scope, "deployment", "latency_ms").frame.set_index("value")
    return pd.DataFrame(
        {
            "calls": [fmt.count(each) for each in spend["calls"]],
            "failed": [fmt.share(row.failed / row.calls) for row in rows_of(spend)],
            "p95": [fmt.duration(slow["p95"].get(name)) for name in spend.index],
            "cost": [fmt.money(None if pd.isna(each) else int(each)) for each in spend["cost_nusd"]],
        },
        index=spend.index,
    )


@st.dialog("Deployment", width="large", icon=":material/dns:")
def _edit(name: str, version: Version) -> None:
    document = dump(version.settings)
    held = next((each for each in document["deployments"] if each["name"] == name), NEW)
    drawn = draw_form(held, f"deployment_{name}_{epoch()}")
    kept = [drawn if each["name"] == name else each for each in document["deployments"]]
    finish_draft(Draft({**document, "deployments": kept if name else [*kept, drawn]}, version))


@st.dialog("Remove a deployment", width="large", icon=":material/delete:")
def _remove(name: str, version: Version) -> None:
    document = dump(version.settings)
    st.write("Calls go to the other deployments of its model from then on. Calls already made keep its name.")
    kept = [each for each in document["deployments"] if each["name"] != name]
    finish_draft(Draft({**document, "deployments": kept}, version))


@st.dialog("Try a deployment", width="medium", icon=":material/play_arrow:")
def _try(deployment: Deployment) -> None:
    st.text(f"{deployment.name} · {deployment.provider}")
    embeddings = "embedding" in f"{deployment.model} {deployment.upstream_model}"
    text = st.text_input("Message", "Say hello in five words.", key="try_text")
    key = st.text_input(
        "Key with the scope admin", type="password", key="try_key", placeholder="Not needed while there are no keys"
    )
    model = deployment.model if deployment.model != "*" else deployment.upstream_model or "any"
    if st.button("Send one call", type="primary", key="try_send", icon=":material/send:"):
        options = {} if embeddings else {"max_tokens": 64, "cache": {"no-cache": True}}
        question = Question(model, ({"role": "user", "content": text},), key.strip(), deployment.name, options)
        with st.spinner("Asking"):
            answer = try_deployment(data.console().gateway_url, question, embeddings=embeddings)
        draw_answer(_done(answer))


def _done(answer: Any) -> Any:
    return replace(answer, done=True)


draw()
