"""Cooldowns and open calls per deployment."""

from __future__ import annotations

from backend.settings.knobs import UpstreamSettings
from backend.upstream.health import Health

SETTINGS = UpstreamSettings(cooldown_failures=3, cooldown_s=10)


def test_a_cooldown_begins_with_the_last_of_the_failures_in_a_row_and_ends_by_itself() -> None:
    now = [100.0]
    health = Health(lambda: now[0])
    for count in range(3):
        assert not health.resting("a"), count
        health.failed("a", SETTINGS)
    assert health.resting("a")
    assert not health.resting("b")
    now[0] += 9.99
    assert health.resting("a")
    now[0] += 0.01
    assert not health.resting("a")


def test_one_failure_after_the_cooldown_begins_the_next() -> None:
    now = [100.0]
    health = Health(lambda: now[0])
    for _ in range(3):
        health.failed("a", SETTINGS)
    now[0] += 11
    health.failed("a", SETTINGS)
    assert health.resting("a")
    health.succeeded("a")
    assert not health.resting("a")
    health.failed("a", SETTINGS)
    assert not health.resting("a")


def test_open_calls_are_counted_per_deployment() -> None:
    health = Health()
    for name in "aab":
        health.begin(name)
    health.end("a")
    assert [health.open_calls(name) for name in "abc"] == [1, 1, 0]
