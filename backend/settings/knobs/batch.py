"""Knobs of batch jobs: how large a job may be, how many of its lines go out at once, what it leaves to live calls."""

from __future__ import annotations

from backend.settings.knobs.section import Section, knob


class BatchSettings(Section):
    """Files of requests that are answered without haste, behind live calls."""

    jobs_per_worker: int = knob(
        2, "Jobs at once", "Jobs a worker runs beside each other; 0 lets all of them wait.", ge=0, le=64
    )
    max_parallel: int = knob(
        8,
        "Lines at once",
        "Lines of one job in flight; a local engine takes as many as its deployment's parallel calls instead.",
        ge=1,
        le=10_000,
    )
    window_share: float = knob(
        0.9, "Share of a window", "Share of a deployment's parallel calls that lines may fill.", gt=0, le=1
    )
    live_share: float = knob(
        0.25,
        "Live share",
        "Lines wait while live calls are more than this share of the gateway's most open calls.",
        gt=0,
        le=1,
    )
    lease_s: float = knob(
        15.0, "Lease", "Seconds after which the job of a worker that fell silent is another's.", ge=1, le=600
    )
    max_tries: int = knob(8, "Tries", "How often a line is sent while it is answered 429 or 503.", ge=1, le=100)
    backoff_ms: float = knob(
        1000.0,
        "Back-off",
        "Milliseconds before the second try, doubled for each later one up to a minute.",
        ge=0,
        le=60_000,
    )
    max_file_mb: float = knob(
        100.0, "Largest file", "Uploads above this many megabytes are refused (413).", ge=0.001, le=500
    )
    max_tenant_mb: float = knob(
        10_000.0,
        "Files per tenant",
        "Uploads are refused (413) when a tenant's files would be more megabytes than this.",
        ge=0.001,
        le=100_000_000,
    )
    max_uploads: int = knob(
        4, "Uploads at once", "Files a worker takes in at the same time; more are refused (429).", ge=1, le=1000
    )
    max_lines: int = knob(50_000, "Most lines", "Requests that one job may have.", ge=1, le=1_000_000)
    upload_timeout_s: float = knob(
        600.0, "Upload deadline", "Seconds a client may take to send a file (408 after it).", gt=0, le=3600
    )
    keep_days: float = knob(
        30.0,
        "Kept for",
        "Days until a file is deleted, unless its owner said otherwise, and the lines of a failed job.",
        ge=0.05,
        le=3650,
    )
