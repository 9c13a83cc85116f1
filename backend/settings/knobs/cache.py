"""Knobs of the cache: when a repeated question is answered without calling a model."""

from __future__ import annotations

from backend.settings.knobs.section import Section, knob


class CacheSettings(Section):
    """Answer a repeated question without calling a model."""

    exact_enabled: bool = knob(True, "Exact cache", "Answer identical requests of one tenant from the cache.")
    ttl_s: int = knob(3600, "Time to live", "Seconds an entry may be served.", ge=1, le=31_536_000)
    max_temperature: float = knob(
        1.0, "Highest temperature", "Requests above it bypass the cache; a request without one counts as 1.", ge=0, le=2
    )
    store_tool_calls: bool = knob(False, "Store tool calls", "Also store answers that call tools.")
    max_entry_kb: int = knob(512, "Largest entry", "Answers above this many kilobytes are not stored.", ge=1, le=16_384)
    max_mb: int = knob(
        1024, "Capacity", "Megabytes of entries kept in SQLite; the oldest go first.", ge=1, le=1_048_576
    )
    coalesce: bool = knob(True, "Coalesce", "Identical calls in flight within a tenant share one upstream call.")
    store_timeout_ms: float = knob(
        50.0, "Store deadline", "Milliseconds a call waits for Redis before it goes on without.", gt=0, le=5000
    )
