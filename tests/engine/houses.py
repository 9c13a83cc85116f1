"""A keeper with fake engines on a database of its own."""

from __future__ import annotations

import http.client
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from backend.engine import wishes
from backend.engine.keeper import Keeper
from backend.settings.document import dump
from backend.settings.knobs import Deployment, Settings
from backend.settings.signature import Signature
from backend.settings.store import Change, apply_partial, current
from db import schema
from db.engine import connect, reading, writing
from db.engine_events import EngineEvent, list_events
from db.engine_samples import EngineSample, read_samples
from db.engines import EngineRow, read_engine, write_state

FAKE = Path(__file__).resolve().parents[1] / "fake_engine.py"
BY = Signature("ada", "a test")
PATIENCE_S = 60.0
QUICK: dict[str, Any] = {
    "health_period_s": 0.2,
    "health_deadline_s": 2.0,
    "health_failures": 2,
    "backoff_first_s": 0.1,
    "backoff_most_s": 0.2,
    "drain_s": 2.0,
    "start_deadline_s": 30.0,
    "scrape_period_s": 0.2,
    "trial_load_s": 0.3,
    "trial_s": 0.5,
    "slo_ttft_p95_ms": 60_000.0,
    "slo_itl_p95_ms": 60_000.0,
}


def write_fake_python(folder: Path) -> Path:
    """An executable that runs the fake whatever module it is told to run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "engine-python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{FAKE}" "$@"\n')
    path.chmod(0o755)
    return path


class KeptHouse:
    """A database, a keeper in a thread, and what it wrote down."""

    def __init__(self, folder: Path, patience_s: float = PATIENCE_S) -> None:
        self.folder = folder
        self._patience_s = patience_s
        self.engine = connect(f"sqlite:///{folder / 'governor.db'}")
        schema.upgrade(self.engine)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.end_keeper()
        self.engine.dispose()

    def start_keeper(self) -> None:
        """Run a keeper from now on."""
        self._stop = threading.Event()
        keeper = Keeper(self.engine, self.folder / "engines", "here")
        self._thread = threading.Thread(target=keeper.run, args=(self._stop,))
        self._thread.start()

    def end_keeper(self) -> None:
        """End it, with every engine."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def configure(self, *engines: dict[str, Any], **knobs: Any) -> None:
        """Put engines in the settings, with knobs that make everything quick."""
        section = QUICK | knobs | {"engines": [{"model": "fake/ok", "max_num_seqs": 4} | each for each in engines]}
        apply_partial(self.engine, Change({"engine": section}, BY))

    def tune(self, **knobs: Any) -> None:
        """Change knobs that all engines share."""
        section = dump(self.settings)["engine"]
        apply_partial(self.engine, Change({"engine": section | knobs}, BY))

    def change(self, name: str, **values: Any) -> None:
        """Change knobs of one engine."""
        wishes.change_engine(self.engine, name, values, BY)

    @property
    def settings(self) -> Settings:
        """What is in force."""
        return current(self.engine).settings

    def deployment(self, name: str) -> Deployment | None:
        """The deployment of this name."""
        return next((each for each in self.settings.deployments if each.name == name), None)

    def row(self, name: str = "small") -> EngineRow:
        """What stands written of an engine."""
        with reading(self.engine) as connection:
            found = read_engine(connection, name)
        assert found is not None
        return found

    def is_known(self, name: str) -> bool:
        """Whether anything stands written of it."""
        with reading(self.engine) as connection:
            return read_engine(connection, name) is not None

    def note(self, name: str, **columns: Any) -> None:
        """Write into an engine's row what a keeper would."""
        with writing(self.engine) as connection:
            write_state(connection, name, **columns)

    def samples(self, name: str = "small") -> Sequence[EngineSample]:
        """What the engine said of itself, oldest first."""
        with reading(self.engine) as connection:
            return read_samples(connection, name, 0, 2**62)

    def generated(self, name: str = "small") -> int:
        """Tokens that its samples counted."""
        return sum(orjson.loads(sample.figures)["completion_tokens"] or 0 for sample in self.samples(name))

    def events(self, name: str = "small") -> Sequence[EngineEvent]:
        """What happened, oldest first."""
        with reading(self.engine) as connection:
            return list(reversed(list_events(connection, limit=200, engine=name)))

    def kinds(self, name: str = "small") -> list[str]:
        """Kinds of what happened, oldest first."""
        return [event.kind for event in self.events(name)]

    def wait(self, happened: Callable[[], object]) -> None:
        """Until it happened; fails with the engine's history when it never does."""
        until = time.monotonic() + self._patience_s
        while not happened():
            told = [f"{event.engine} {event.kind}: {event.message}" for event in self._all_events()]
            assert time.monotonic() < until, "\n".join(told)
            time.sleep(0.02)

    def wait_for_state(self, state: str, name: str = "small") -> EngineRow:
        """Until it is in this state, with nothing asked of it."""
        self.wait(lambda: self.row(name).state == state and not self.row(name).request)
        return self.row(name)

    def wait_for_kind(self, kind: str, times: int = 1, name: str = "small") -> EngineEvent:
        """Until that happened so often; the latest."""
        self.wait(lambda: self.kinds(name).count(kind) >= times)
        return [event for event in self.events(name) if event.kind == kind][-1]

    def _all_events(self) -> Sequence[EngineEvent]:
        with reading(self.engine) as connection:
            return list(reversed(list_events(connection, limit=200)))


def tell_fake(port: int | None, mode: str) -> None:
    """Change how a running fake behaves."""
    connection = http.client.HTTPConnection("127.0.0.1", port or 0, timeout=10)
    connection.request("POST", f"/fake/{mode}", b"")
    assert connection.getresponse().status == 200
    connection.close()
