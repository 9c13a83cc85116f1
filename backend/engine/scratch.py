"""An engine for a measurement only: launched beside everything else, answered for, ended with everything it started."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.engine.health import NoToken, Place, generate_token
from backend.engine.launch import plan_launch
from backend.engine.process import EngineProcess, free_port
from backend.settings.knobs import EngineSpec

POLL_S = 0.5
_LOG_TAIL = 600


class NotStarted(Exception):
    """The engine could not be started; the message says what it said last."""


@contextmanager
def launched(
    spec: EngineSpec, folder: Path, *, within_s: float = 900.0, stopped: Callable[[], bool] = lambda: False
) -> Iterator[Place]:
    """A managed engine of this specification, once it generates tokens. Raises ``NotStarted``."""
    launch = plan_launch(spec, free_port(), drain_s=0.0, environment=os.environ)
    process = EngineProcess(launch, folder, 5.0)
    place = Place(launch.url, spec.served)
    try:
        _await_token(process, place, within_s, stopped)
        yield place
    finally:
        process.end(5.0)


def _await_token(process: EngineProcess, place: Place, within_s: float, stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + within_s
    while time.monotonic() < until and not stopped():
        if process.code is not None:
            said = process.log.read_text(errors="replace")[-_LOG_TAIL:]
            raise NotStarted(f"the engine ended with code {process.code}: {said}")
        try:
            generate_token(place, 60.0)
            return
        except NoToken:
            time.sleep(POLL_S)
    raise NotStarted("stopped" if stopped() else f"no token within {within_s:g} s of the start; {process.log}")
