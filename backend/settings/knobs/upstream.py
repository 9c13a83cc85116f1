"""Knobs of upstream calls: deadlines, retries, cooldown, disconnects."""

from __future__ import annotations

from typing import Literal

from backend.settings.knobs.section import Section, knob


class UpstreamSettings(Section):
    """How long to wait for a deployment, how often to try, and what to do when the client leaves."""

    connect_timeout_s: float = knob(5.0, "Connect deadline", "Seconds to reach a deployment.", gt=0, le=120)
    first_token_timeout_s: float = knob(
        60.0, "First token deadline", "Seconds until the first bytes of an answer.", gt=0, le=3600
    )
    idle_timeout_s: float = knob(60.0, "Idle deadline", "Seconds between two chunks of a stream.", gt=0, le=3600)
    total_timeout_s: float = knob(600.0, "Total deadline", "Seconds for a whole call, all attempts.", gt=0, le=3600)
    max_attempts: int = knob(3, "Most attempts", "Tries per call over all deployments.", ge=1, le=10)
    retry_ambiguous: bool = knob(
        False, "Retry ambiguous", "Also retry when the deployment may have accepted (and billed) the failed try."
    )
    backoff_ms: float = knob(
        100.0, "Back-off", "First pause before the same deployment is tried again.", ge=0, le=60_000
    )
    cooldown_failures: int = knob(5, "Failures to cooldown", "Failures in a row that rest a deployment.", ge=1, le=1000)
    cooldown_s: float = knob(10.0, "Cooldown", "Seconds a failing deployment rests.", ge=0, le=3600)
    drain_max: int = knob(20, "Most drains", "Answers read on at once after their client left.", ge=0, le=10_000)
    drain_s: float = knob(30.0, "Longest drain", "Seconds an answer is read on after its client left.", gt=0, le=3600)
    prefix_breakpoints: Literal["auto", "off"] = knob(
        "auto",
        "Prefix breakpoints",
        "Mark prefixes that come again within five minutes for providers that must be told (Anthropic's models).",
    )
    prefix_order: bool = knob(
        False, "Stable prefix order", "Send tools sorted by name, so that the same set is the same prefix."
    )
    max_answer_mb: float = knob(64.0, "Largest answer", "Answers above this many megabytes are cut.", gt=0, le=1024)
