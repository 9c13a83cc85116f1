"""The files of a batch job: results, errors and input to download, and the command that fetches them."""

from __future__ import annotations

import streamlit as st

from backend.reports.batches import FileRow, JobDetail, read_file
from pages.components import data
from pages.components import format as fmt

MOST_MB = 50
"""A larger file is not taken through the console: its download is held in memory."""

_LABELS = {"results": "Results", "errors": "Errors", "input": "Input"}


def draw_files(detail: JobDetail) -> None:
    """What can be fetched here, and how to fetch the rest."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="job_files"):
        for noun, label in _LABELS.items():
            if noun in detail.files:
                _draw_download(label, detail.files[noun])
    row = detail.job.row
    if row.output_file_id or row.error_file_id:
        gone = [noun for noun in ("results", "errors") if _was_made(detail, noun) and noun not in detail.files]
        if gone:
            st.caption(f"Deleted since: {', '.join(gone)}.")
        st.code(f"governor batch results {row.id} --output results.jsonl", language="bash")


def _was_made(detail: JobDetail, noun: str) -> bool:
    return bool({"results": detail.job.row.output_file_id, "errors": detail.job.row.error_file_id}[noun])


def _draw_download(label: str, row: FileRow) -> None:
    size_mb = row.size / 1_000_000
    told = f"{size_mb:,.1f} MB" if size_mb >= 1 else f"{row.size / 1000:,.1f} kB"
    st.download_button(
        f"{label} ({told})",
        data=lambda: read_file(data.console().ledger, row),
        file_name=row.filename,
        mime="application/jsonl",
        icon=":material/download:",
        on_click="ignore",
        key=f"job_file_{label}",
        disabled=size_mb > MOST_MB,
        help=_explain(row, size_mb),
    )


def _explain(row: FileRow, size_mb: float) -> str:
    kept = f"Kept until {fmt.clock(row.expires_at, data.zone())}." if row.expires_at else "Kept until it is deleted."
    return fmt.plain(f"Above {MOST_MB} MB: fetch it with the command. {kept}" if size_mb > MOST_MB else kept)
