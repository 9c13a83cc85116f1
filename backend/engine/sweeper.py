"""Runs queued sweeps of one engine in a thread of its own, while the engine goes on serving."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

from backend.engine.health import Place
from backend.engine.process import Pid
from backend.engine.room import has_room_for_both
from backend.engine.scratch import NotStarted, launched
from backend.engine.stages import Slo
from backend.engine.sweep import Cancelled, Scene
from backend.engine.sweep_queue import fail_abandoned, next_queued, run_queued
from backend.engine.weights import variant_of
from backend.settings.knobs import EngineSettings, EngineSpec
from db.engine import Engine
from db.failures import DatabaseAway, RowsRefused, judged
from db.sweeps import SweepRow

LOOK_S = 1.0

log = logging.getLogger("governor.engine")


class Sweeper:
    """One per engine; asked to look as often as its owner likes."""

    def __init__(self, engine: Engine, folder: Path, name: str) -> None:
        self._engine = engine
        self._folder = folder
        self._name = name
        self._ended = False
        self._interrupted = threading.Event()
        self._thread: threading.Thread | None = None
        self._look_at = 0.0
        self._fresh = True

    @property
    def busy(self) -> bool:
        """Whether a sweep runs now."""
        return self._thread is not None and self._thread.is_alive()

    def look(self, place: Place, spec: EngineSpec, knobs: EngineSettings, leader: Pid | None = None) -> None:
        """Start the sweep that has waited longest, if none runs (returns at once)."""
        if self.busy or self._ended or time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_S
        try:
            with judged():
                if self._fresh:
                    fail_abandoned(self._engine, frozenset({self._name}))
                    self._fresh = False
                row = next_queued(self._engine, self._name)
        except (DatabaseAway, RowsRefused):
            return
        if row is not None:
            scene = make_scene(place, spec, knobs, self._folder, leader)
            self._interrupted = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(row, scene, self._interrupted), name=f"sweep {self._name}", daemon=True
            )
            self._thread.start()

    def interrupt(self, seconds: float = 10.0) -> None:
        """Cancel what runs and wait a little: what becomes of the engine must not be measured."""
        self._interrupted.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def end(self, seconds: float = 10.0) -> None:
        """Cancel what runs, wait a little, and start no other."""
        self._ended = True
        self.interrupt(seconds)

    def _run(self, row: SweepRow, scene: Scene, stopping: threading.Event) -> None:
        try:
            with judged():
                run_queued(self._engine, row, scene, stopping)
        except Exception:
            log.exception("sweep %s of engine %s could not be kept", row.id, self._name)


def make_scene(place: Place, spec: EngineSpec, knobs: EngineSettings, folder: Path, leader: Pid | None = None) -> Scene:
    """Where a sweep of this engine runs; other batch sizes are launched beside it, where it is managed.

    Its ``leader`` says how much memory it holds: without, nobody knows whether there is room for another.
    """
    slo = Slo(knobs.slo_ttft_p95_ms, knobs.slo_itl_p95_ms, knobs.slo_error_rate)
    if spec.kind != "managed":
        return Scene(place, spec.server, slo, variant=variant_of(spec))

    def launch(batch: int, cancelled: Cancelled) -> AbstractContextManager[Place]:
        other = spec.model_copy(update={"max_num_seqs": batch, "port": None})
        if leader is None or not has_room_for_both(spec, other, leader):
            raise NotStarted(
                f"this machine has no room for a second engine (batch size {batch}) beside the running one"
            )
        return launched(other, folder / "sweep", within_s=knobs.start_deadline_s, stopped=cancelled)

    return Scene(place, spec.server, slo, launch, variant_of(spec))
