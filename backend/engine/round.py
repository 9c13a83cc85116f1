"""A thread that looks after one engine: told what is wanted, woken when that changes, ended on request."""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.engine.decide import State
from backend.engine.journal import Journal
from backend.engine.sweeper import Sweeper
from backend.settings.knobs import EngineSettings, EngineSpec
from backend.settings.signature import Signature
from db.engine import Engine
from db.engines import EngineRow

TICK_S = 0.5

log = logging.getLogger("governor.engine")


@dataclass(frozen=True, slots=True)
class View:
    """What is wanted of an engine: its row, its specification (None when it was removed), the common knobs."""

    row: EngineRow
    spec: EngineSpec | None
    knobs: EngineSettings

    @property
    def by(self) -> Signature:
        """Who wanted it last, and why."""
        return Signature(self.row.actor, self.row.reason)

    @property
    def wanted(self) -> tuple[object, ...]:
        """What somebody said, without what the keeper wrote beside it."""
        row = self.row
        return (row.wanted, row.request, row.wanted_at, self.spec, self.knobs)


@dataclass(frozen=True, slots=True)
class House:
    """What every engine of this keeper shares: the database, the folder of logs, the keeper's name."""

    engine: Engine
    folder: Path
    keeper: str
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


class Round(ABC):
    """Looks after one engine until told to end; a turn that fails is logged and followed by the next."""

    def __init__(self, house: House, view: View) -> None:
        self.house = house
        self.view = view
        self.name = view.row.name
        self.state = State.STOPPED
        self.journal = Journal(house.engine, self.name, house.keeper)
        self.sweeper = Sweeper(house.engine, house.folder / self.name, self.name)
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._go, name=f"engine {self.name}", daemon=True)

    @abstractmethod
    def open(self) -> None:
        """What comes first."""

    @abstractmethod
    def turn(self) -> None:
        """One look and one step."""

    @abstractmethod
    def close(self) -> None:
        """What comes last."""

    @property
    def alive(self) -> bool:
        """Whether its thread works."""
        return self._thread.is_alive()

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it runs or is to be started."""
        return self.state == State.STOPPED

    @property
    def ending(self) -> bool:
        """Whether it was told to end."""
        return self._ending.is_set()

    def start(self) -> None:
        """Begins, in a thread of its own."""
        self._thread.start()

    def look(self, view: View) -> None:
        """Takes what is wanted now."""
        changed, self.view = view.wanted != self.view.wanted, view
        if changed:
            self._wake.set()

    def end(self) -> None:
        """Tells it to end."""
        self._ending.set()
        self._wake.set()

    def join(self, seconds: float) -> bool:
        """Whether it ended within this time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def pause(self, seconds: float) -> None:
        """Waits this long, less when something else is wanted or it is to end."""
        self._wake.wait(seconds)
        self._wake.clear()

    def _go(self) -> None:
        self._guarded(self.open)
        while not self.ending:
            self._guarded(self.turn)
            if not self.ending:
                self.pause(TICK_S)
        self._guarded(self.sweeper.end)
        self._guarded(self.close)

    def _guarded(self, step: object) -> None:
        try:
            step()  # type: ignore[operator]
        except Exception:
            log.exception("engine %s: a step failed", self.name)
