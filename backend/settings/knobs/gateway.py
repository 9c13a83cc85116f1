"""Knobs of the gateway: what a request may look like."""

from __future__ import annotations

from backend.settings.knobs.section import Section, knob


class GatewaySettings(Section):
    """What a request may look like before anything reads it."""

    max_body_mb: float = knob(
        20.0, "Largest body", "Bodies above this many megabytes are refused (413).", ge=0.001, le=512
    )
    max_depth: int = knob(64, "Deepest nesting", "JSON nested deeper than this is refused (400).", ge=8, le=512)
    max_hops: int = knob(2, "Most hops", "Gateways a request may pass before it is called a loop (508).", ge=1, le=16)
    max_open_calls: int = knob(
        10_000, "Most open calls", "Calls in flight per worker; above it new calls get 429.", ge=1, le=1_000_000
    )
    write_stall_s: float = knob(
        30.0, "Write stall", "A stream whose client reads nothing for so many seconds is cut.", gt=0, le=3600
    )
    body_timeout_s: float = knob(
        60.0, "Body deadline", "Seconds a client may take to send its body (408 after it).", gt=0, le=3600
    )
