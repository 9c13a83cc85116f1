"""A child that keeps dying is started ever more slowly, and quickly again once it has lived."""

from __future__ import annotations

import pytest

from backend.cli.processes import LONGEST_PAUSE_S, STEADY_S, WORKERS, Child, Role


def test_pauses_double_up_to_a_bound() -> None:
    child = Child(Role("gateway", "worker", WORKERS))
    child.mark_started()
    assert [child.plan_restart() for _ in range(9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, *[LONGEST_PAUSE_S] * 3]


def test_a_child_that_lived_long_starts_quickly_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("backend.cli.processes.time.monotonic", lambda: now)
    child = Child(Role("gateway", "worker", WORKERS))
    child.mark_started()
    for _ in range(4):
        child.plan_restart()
    child.mark_started()
    now += STEADY_S + 1
    assert child.plan_restart() == 0.5
