"""One batch job in a drawer with an address of its own: how far it is, what failed, its files; and its end."""

from __future__ import annotations

import streamlit as st

from backend.actions import Signature, cancel_job
from backend.reports.batches import BatchJob, JobDetail, read_job
from pages.components import data
from pages.components import format as fmt
from pages.components.batch_failures import draw_failures
from pages.components.batch_files import draw_files
from pages.components.batch_table import name_model, name_state, tell_time
from pages.components.cards import CALLS
from pages.components.colors import JOB_TONES
from pages.components.shell import quietly_failing
from pages.components.signed_act import draw_signed_act
from pages.components.view import View

BEAT_S = 2
_ROOM_MS = 300_000


def open_job(job_id: str) -> None:
    """Show the drawer over the page."""
    st.dialog("Batch job", width=720, position="right", on_dismiss=close_job)(_draw)(job_id)


def close_job() -> None:
    """Take the job out of the address."""
    st.query_params.pop("job", None)


def _draw(job_id: str) -> None:
    detail = read_job(data.console().ledger, job_id)
    if detail is None:
        st.subheader("No such batch job", anchor=False)
        st.write("Its id may be mistyped, or it is of another installation.")
        st.code(job_id, language=None)
        return
    _draw_head(detail.job)
    beat_s = BEAT_S if detail.job.is_unfinished else None
    st.fragment(_draw_now, run_every=beat_s)(job_id, detail.job.row.status)
    with st.expander("Times and metadata", icon=":material/schedule:"), quietly_failing("Times"):
        _draw_facts(detail)


def _draw_head(job: BatchJob) -> None:
    state, row = name_state(job), job.row
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="job_head"):
        st.badge(state, color=JOB_TONES.get(state, "gray"))
        st.text(job.filename or "Its file is deleted", width="stretch")
        if job.can_be_cancelled:
            with st.popover("Cancel", icon=":material/cancel:", width="content"):
                _draw_cancel(job)
    told = (row.endpoint, name_model(job), job.key or "no key", f"tenant {row.tenant}")
    st.text(" · ".join(each for each in told if each))
    st.code(row.id, language=None)


def _query(job: BatchJob) -> dict[str, str | list[str]]:
    """The address of the list of the job's calls; while it runs, with room for those still to come."""
    start_at = job.row.created_at
    end_at = job.ended_at or job.read_at + job.took_ms + _ROOM_MS
    return {**View().spanning(start_at, end_at + 1).link(), "q": job.row.id}


def _draw_cancel(job: BatchJob) -> None:
    st.write("Lines under way finish and are paid; no more are begun. What is done stays in the results.")

    def do(by: Signature) -> str:
        cancel_job(data.console().engine, job.row.id, by)
        return "The batch job ends."

    draw_signed_act("Cancel the job", "job_cancel", do)


def _draw_now(job_id: str, status: str) -> None:
    with quietly_failing("The batch job"):
        detail = read_job(data.console().ledger, job_id)
        if detail is None or detail.job.row.status != status:
            st.rerun()
            return
        _draw_progress(detail)
        _draw_links(detail.job)
        if detail.failures:
            draw_failures(detail)
        draw_files(detail)


def _draw_progress(detail: JobDetail) -> None:
    job = detail.job
    row = job.row
    if job.share is not None:
        under_way = f" · {detail.under_way} under way" if job.is_unfinished and detail.under_way else ""
        st.progress(job.share, text=fmt.plain(f"{row.completed:,} of {row.total:,} lines answered{under_way}"))
    with st.grid(4, min_column_width=120, gap="small"):
        st.metric("Answered", fmt.count(row.completed), border=True)
        st.metric("Failed", fmt.count(row.failed), border=True, help=_FAILED)
        st.metric("Cost", fmt.money(row.cost_nusd), border=True, help=_COST)
        st.metric("Time", fmt.duration(job.took_ms), border=True)
    if row.max_cost_nusd is not None:
        spent = 1.0 if row.spent_nusd >= row.max_cost_nusd else row.spent_nusd / row.max_cost_nusd
        told = f"{fmt.money(row.spent_nusd)} of its budget of {fmt.money(row.max_cost_nusd)}"
        st.progress(spent, text=fmt.plain(told))
    if job.is_unfinished:
        st.caption(fmt.plain(f"{tell_time(job)} · expires {fmt.clock(row.expires_at, data.zone())}"))
    elif row.status == "failed" and row.in_progress_at is None:
        st.caption("The file was refused; no line was sent.")


_FAILED = "Once a job has ended, lines that never came to their turn are among these."
_COST = "What its lines' calls cost; where only a bound is known, the bound. Calls of unknown cost are not in it."


def _draw_links(job: BatchJob) -> None:
    if not job.row.total:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="job_links"):
        st.page_link(CALLS, label="Its calls", icon=":material/list_alt:", query_params=_query(job))
        if job.row.failed:
            failed = {**_query(job), "status": ["failed", "refused"]}
            st.page_link(CALLS, label="Those that failed", icon=":material/error:", query_params=failed)


_TIMES = {
    "created_at": "Created",
    "in_progress_at": "First line begun",
    "cancelling_at": "Cancel asked",
    "finalizing_at": "Lines done",
    "completed_at": "Completed",
    "failed_at": "Failed",
    "expired_at": "Expired",
    "cancelled_at": "Cancelled",
    "expires_at": "Deadline",
}


def _draw_facts(detail: JobDetail) -> None:
    row, zone = detail.job.row, data.zone()
    times = {name: getattr(row, column) for column, name in _TIMES.items()}
    st.table({name: fmt.clock(at, zone) for name, at in times.items() if at}, border="horizontal", width="content")
    if detail.metadata:
        st.json(detail.metadata)
