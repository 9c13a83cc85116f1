"""Ask up to three models at once, through the gateway, like any customer."""

from __future__ import annotations

import json
import queue
import threading
import time
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from backend.reports.call_detail import read_call_detail
from pages.components import data
from pages.components.answer_view import draw_answer
from pages.components.gateway_client import Answer, Question, ask, list_models

MOST_COLUMNS = 3
BILL_WITHIN_S = 4.0
_ANSWERS, _ASKED = "_answers", "_asked"


def draw() -> None:
    """The page."""
    models = _models()
    chosen = _draw_choices(models)
    system = st.session_state.get("playground_system", "")
    prompt = st.chat_input("Ask something", key="playground_prompt")  # its own stop would steal the focus from the key
    if prompt and chosen:
        messages = ({"role": "system", "content": system},) if system.strip() else ()
        _ask_all(chosen, (*messages, {"role": "user", "content": prompt}))
    elif _ANSWERS in st.session_state:
        _draw_answers(st.session_state[_ANSWERS])
    else:
        st.caption("Calls made here are billed and recorded like any other. Ask the same thing twice to see the cache.")


def _models() -> list[str]:
    """What the gateway offers this key; without a gateway, what the settings declare."""
    found = list_models(data.console().gateway_url, st.session_state.get("playground_key", ""))
    declared = [each.model for each in data.settings().settings.deployments if each.model != "*"]
    return [name for name in dict.fromkeys(found or declared) if "embedding" not in name]


def _draw_choices(models: list[str]) -> list[str]:
    with st.container(horizontal=True, vertical_alignment="bottom", key="playground_toolbar"):
        chosen: list[str] = st.multiselect(
            "Models, up to three",
            models,
            default=models[:2],
            max_selections=MOST_COLUMNS,
            accept_new_options=True,
            key="playground_models",
            persist_state="session",
        )
        st.text_input(
            "Key",
            type="password",
            key="playground_key",
            placeholder="gov-…",
            help=_KEY_HELP,
            persist_state="session",
            width=220,
        )
        with st.popover("Options", icon=":material/tune:"):
            _draw_options()
        with st.popover("Code", icon=":material/code:"):
            st.code(_write_code(chosen[0] if chosen else "gpt-4o-mini"), language="python")
    return chosen


def _draw_options() -> None:
    keep: dict[str, Any] = {"persist_state": "session"}
    st.text_area("System prompt", key="playground_system", height=90, **keep)
    st.number_input("Temperature", 0.0, 2.0, None, 0.1, key="playground_temperature", placeholder="default", **keep)
    st.number_input("Most tokens", 1, 100_000, None, 1, key="playground_max_tokens", placeholder="default", **keep)
    st.toggle("Skip the cache", key="playground_no_cache", **keep)


_KEY_HELP = "Needed where keys exist. It stays in this session: it is neither stored nor put in the address."


def _options() -> dict[str, Any]:
    state = st.session_state
    found = {"temperature": state.get("playground_temperature"), "max_tokens": state.get("playground_max_tokens")}
    options: dict[str, Any] = {name: value for name, value in found.items() if value is not None}
    return {**options, "cache": {"no-cache": True}} if state.get("playground_no_cache") else options


def _ask_all(models: list[str], messages: tuple[dict[str, str], ...]) -> None:
    """All columns at once; the page follows what the threads bring until the last one is done."""
    stop, news, key = threading.Event(), queue.Queue[bool](), st.session_state.get("playground_key", "")
    url = data.console().gateway_url
    questions = [Question(model, messages, key, options=_options()) for model in models]
    answers = [ask(url, question, stop, lambda: news.put(True)) for question in questions]
    st.session_state[_ANSWERS], st.session_state[_ASKED] = answers, messages[-1]["content"]
    _draw_asked()
    slots, end = _draw_columns(answers), st.empty()
    end.button("Stop", icon=":material/stop_circle:", key="playground_stop")  # any rerun ends the one that waits here
    try:
        while not all(answer.done for answer in answers):
            _refresh(slots, answers)
            _await(news)
        end.empty()
        _bill(answers)
        _refresh(slots, answers)
    finally:
        stop.set()


def _await(news: queue.Queue[bool]) -> None:
    """Wait for something new, then take everything that has come: one drawing for many tokens."""
    try:
        news.get(timeout=0.5)
        time.sleep(0.04)
        while True:
            news.get_nowait()
    except queue.Empty:
        return


def _bill(answers: list[Answer]) -> None:
    """A stream's cost is known only after its headers: read it from the ledger, where it is a moment later."""
    deadline = time.monotonic() + BILL_WITHIN_S
    waiting = [answer for answer in answers if answer.call_id and not answer.error]
    while waiting and time.monotonic() < deadline:
        for answer in tuple(waiting):
            detail = read_call_detail(data.console().ledger, answer.call_id or "")
            if detail is not None and detail.columns["state"] != "open":
                answer.cost_nusd = detail.columns["cost_nusd"]
                waiting.remove(answer)
        if waiting:
            time.sleep(0.1)


def _draw_columns(answers: list[Answer]) -> list[DeltaGenerator]:
    slots = []
    for column, answer in zip(st.columns(len(answers)), answers, strict=True):
        with column.container(border=True):
            st.text(answer.model)
            slots.append(st.empty())
    return slots


def _refresh(slots: list[DeltaGenerator], answers: list[Answer]) -> None:
    for slot, answer in zip(slots, answers, strict=True):
        with slot.container():
            draw_answer(answer)


def _draw_asked() -> None:
    with st.container(border=True, key="asked"):
        st.text(st.session_state[_ASKED])


def _draw_answers(answers: list[Answer]) -> None:
    _draw_asked()
    _refresh(_draw_columns(answers), answers)


def _write_code(model: str) -> str:
    options = "".join(f", {name}={json.dumps(value)}" for name, value in _options().items() if name != "cache")
    return (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{data.console().gateway_url}/v1", api_key="gov-…")\n'
        "answer = client.chat.completions.create(\n"
        f'    model={json.dumps(model)}, messages=[{{"role": "user", "content": "Hello"}}]{options}\n'
        ")\n"
        "print(answer.choices[0].message.content)\n"
    )


draw()
