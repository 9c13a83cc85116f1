"""The list of batch jobs as a table; a row's button opens the job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from backend.reports.batches import BatchJob
from pages.components import data
from pages.components import format as fmt
from pages.components.colors import JOB_TONES

_SHORT = {"/v1/chat/completions": "chat", "/v1/completions": "completions", "/v1/embeddings": "embeddings"}


def draw_job_table(jobs: Sequence[BatchJob]) -> None:
    """At most one page of jobs."""
    st.session_state["_listed_jobs"] = [each.row.id for each in jobs]
    st.dataframe(
        pd.DataFrame([_line(each) for each in jobs]),
        hide_index=True,
        row_height=32,
        height=min(36 + 32 * len(jobs) + 4, 640),
        alt="Batch jobs, newest first",
        key="jobs",
        column_config=_columns(),
    )


def _columns() -> dict[str, Any]:
    text = st.column_config.TextColumn
    names, tones = list(JOB_TONES), list(JOB_TONES.values())
    return {
        "open": st.column_config.ButtonColumn(
            "", on_click=_open, key="job_open", width=64, pinned=True, type="secondary"
        ),
        "created": text("Created", width=108),
        "state": st.column_config.MultiselectColumn("State", options=names, color=tones, width=92),
        "file": text("File", width=126),
        "share": st.column_config.ProgressColumn("Answered", format="percent", min_value=0, max_value=1, width=110),
        "lines": text("Lines", width=104, alignment="right"),
        "failed": text("Failed", width=58, alignment="right"),
        "cost": text("Cost", width=84, alignment="right"),
        "budget": text("Budget", width=72, alignment="right"),
        "time": text("Time", width=116, alignment="right"),
        "model": text("Model", width=110),
        "endpoint": text("Endpoint", width=92),
        "key": text("Key", width=100),
        "tenant": text("Tenant", width=100),
        "job": text("Job", width=290),
    }


def _line(job: BatchJob) -> dict[str, Any]:
    row = job.row
    return {
        "open": "View",
        "created": f"{fmt.moment(row.created_at, data.zone()):%m-%d %H:%M:%S}",
        "state": [name_state(job)],
        "file": job.filename,
        "share": job.share,
        "lines": f"{row.completed:,} of {row.total:,}" if row.total else fmt.ABSENT,
        "failed": f"{row.failed:,}" if row.total else fmt.ABSENT,
        "cost": fmt.money(row.cost_nusd),
        "budget": fmt.ABSENT if row.max_cost_nusd is None else fmt.money(row.max_cost_nusd),
        "time": tell_time(job),
        "model": name_model(job) or fmt.ABSENT,
        "endpoint": _SHORT.get(row.endpoint, row.endpoint),
        "key": job.key or fmt.ABSENT,
        "tenant": row.tenant,
        "job": row.id,
    }


def name_state(job: BatchJob) -> str:
    """The job's status as people read it."""
    return job.row.status.replace("_", " ")


def name_model(job: BatchJob) -> str | None:
    """The one model all lines ask for; None while its file was not read."""
    return job.row.model or ("several models" if job.row.total else None)


def tell_time(job: BatchJob) -> str:
    """What a job took, or still takes where that is known."""
    if not job.is_unfinished:
        return f"took {fmt.duration(job.took_ms)}"
    if not job.is_held:
        return "waits for a worker"
    if job.left_ms is None:
        return f"{fmt.duration(job.took_ms)} so far"
    return f"~{job.left_ms / 1000:.0f} s left" if job.left_ms < 60_000 else f"~{fmt.duration(job.left_ms)} left"


def _open() -> None:
    click = st.session_state["job_open"]
    listed = st.session_state.get("_listed_jobs", [])
    if click is not None and 0 <= click["row"] < len(listed):
        st.query_params["job"] = listed[click["row"]]
