"""Batch jobs: every file of requests, how far it is and what it cost; one job in a drawer, where it can be ended."""

from __future__ import annotations

import streamlit as st

from backend.reports.batches import STATES, has_unfinished, read_jobs
from pages.components import data
from pages.components.address import choose_section
from pages.components.batch_drawer import open_job
from pages.components.batch_start import draw_none
from pages.components.batch_table import draw_job_table
from pages.components.paging import cursors_of, draw_turns
from pages.components.shell import quietly_failing

PAGE_ROWS = 50
BUSY_BEAT_S, QUIET_BEAT_S = 2, 10
SETTINGS = "pages/tune/settings.py"


def draw() -> None:
    """The page; the drawer opens over it when the address names a job, and the list stands still meanwhile."""
    with st.container(horizontal=True, vertical_alignment="center", key="batches_toolbar"):
        state = choose_section({name: name.capitalize() for name in STATES}, "state")
        st.space("stretch")
        st.page_link(SETTINGS, label="Settings", icon=":material/tune:", query_params={"section": "batch"})
    job_id = st.query_params.get("job")
    busy = has_unfinished(data.console().ledger)
    beat_s = None if job_id else BUSY_BEAT_S if busy else QUIET_BEAT_S
    st.fragment(_draw_list, run_every=beat_s)(state, job_id, busy=busy)
    if job_id:
        open_job(job_id)


def _draw_list(state: str, job_id: str | None, *, busy: bool) -> None:
    with quietly_failing("The list of batch jobs"):
        ledger = data.console().ledger
        if st.query_params.get("job") != job_id or (not job_id and has_unfinished(ledger) != busy):
            st.rerun()
        cursors = cursors_of("job", state)
        page = read_jobs(ledger, state, cursors[-1], PAGE_ROWS)
        if not page.jobs and len(cursors) > 1:  # those that were listed here came to another state meanwhile
            del cursors[1:]
            page = read_jobs(ledger, state, None, PAGE_ROWS)
        if not page.jobs:
            draw_none(state)
            return
        draw_job_table(page.jobs)
        if page.next or len(cursors) > 1:
            with st.container(horizontal=True, horizontal_alignment="right", key="jobs_paging"):
                draw_turns(cursors, page.next, "jobs_")


draw()
