"""Sweeps in the database: queued by people, run by the keeper or in the foreground, followed, cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson

from backend.engine.sweep import Outcome, Scene, run_sweep
from db.engine import Engine, reading, writing
from db.sweeps import RUNNING, SweepRow, claim_sweep, list_sweeps, read_sweep, write_sweep

ENDED = frozenset({"done", "cancelled", "failed"})


def next_queued(engine: Engine, name: str) -> SweepRow | None:
    """The sweep of this engine that has waited longest."""
    with reading(engine) as connection:
        waiting = list_sweeps(connection, limit=1000, engine=name, state="queued")
    return waiting[-1] if waiting else None


def run_queued(engine: Engine, row: SweepRow, scene: Scene, stopping: threading.Event | None = None) -> Outcome | None:
    """Claim a queued sweep, run it and keep what it measured (blocking); None when somebody else has it.

    ``stopping`` cancels it, as its owner's wish does.
    """
    with writing(engine) as connection:
        if not claim_sweep(connection, row.id, _now_ms()):
            return None

    def dump(results: Mapping[str, Any]) -> str:
        served = {"variant": asdict(scene.variant)} if scene.variant else {}
        return orjson.dumps({**results, **served}).decode()

    def report(done: float, results: Mapping[str, Any]) -> None:
        _keep(engine, row.id, progress=done, results=dump(results))

    def cancelled() -> bool:
        if stopping is not None and stopping.is_set():
            return True
        with reading(engine) as connection:
            found = read_sweep(connection, row.id)
        return found is None or found.cancel_wanted or found.state != RUNNING

    outcome = run_sweep(row, scene, report, cancelled)
    ended: dict[str, Any] = {"state": outcome.state, "message": outcome.message, "ended_at": _now_ms()}
    progress = {"progress": 1.0} if outcome.state == "done" else {}
    _keep(engine, row.id, results=dump(outcome.results), **ended, **progress)
    return outcome


def fail_abandoned(engine: Engine, names: frozenset[str]) -> int:
    """Mark sweeps that a keeper of these engines left running when it died; how many."""
    with writing(engine) as connection:
        left = [row for row in list_sweeps(connection, limit=1000, state=RUNNING) if row.engine in names]
        for row in left:
            write_sweep(connection, row.id, state="failed", message="whoever ran it ended", ended_at=_now_ms())
    return len(left)


def _keep(engine: Engine, sweep_id: str, **changes: Any) -> None:
    with writing(engine) as connection:
        write_sweep(connection, sweep_id, **changes)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
