"""No batch job to show: what one is, and how to start it."""

from __future__ import annotations

import streamlit as st

from pages.components import data


def draw_none(state: str) -> None:
    """Why the list is empty, and the one thing to do about it."""
    with st.container(border=True, key="nothing"):
        if state != "all":
            st.subheader(f"No batch job is {state}", anchor=False)
            if st.button("Show all", type="primary", key="jobs_all"):
                st.query_params.pop("state", None)
                st.rerun()
            return
        st.subheader("No batch jobs yet", anchor=False)
        st.write(
            "A batch job is a file of requests, one on each line, answered behind live calls: resumed after a crash, "
            "within a budget, with a result for every line. This runs one and waits for its results:"
        )
        st.code("governor batch run requests.jsonl --max-cost 5", language="bash")
        st.write("A line of the file:")
        st.code(LINE, language="json", wrap_lines=True)
        st.write("Or with OpenAI's client:")
        st.code(client_example(), language="python")


LINE = (
    '{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", '
    '"body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}}'
)


def client_example() -> str:
    """A job started with OpenAI's own library."""
    return (
        f'client = OpenAI(base_url="{data.console().gateway_url}/v1", api_key="…")\n'
        'file = client.files.create(file=open("requests.jsonl", "rb"), purpose="batch")\n'
        "client.batches.create(\n"
        '    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h",\n'
        '    metadata={"governor_max_cost_usd": "5"},\n'
        ")"
    )
