"""Which deployments rest: failures in a row start a cooldown, one success ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from backend.settings.knobs import UpstreamSettings


@dataclass(slots=True)
class _State:
    failures: int = 0
    rests_until: float = 0.0
    open_calls: int = 0


class Health:
    """Failures, cooldowns and open calls per deployment, in this worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states: dict[str, _State] = {}
        self.when_free: Callable[[str], None] | None = None
        """Told the deployment whenever a call there has ended."""

    def resting(self, deployment: str) -> bool:
        """Whether the deployment is in its cooldown."""
        state = self._states.get(deployment)
        return state is not None and state.rests_until > self._clock()

    def open_calls(self, deployment: str) -> int:
        """Calls in flight at the deployment from this worker."""
        state = self._states.get(deployment)
        return state.open_calls if state else 0

    def begin(self, deployment: str) -> None:
        """Count a call in."""
        self._state(deployment).open_calls += 1

    def end(self, deployment: str) -> None:
        """Count a call out."""
        self._state(deployment).open_calls -= 1
        if self.when_free is not None:
            self.when_free(deployment)

    def succeeded(self, deployment: str) -> None:
        """Forget earlier failures."""
        state = self._state(deployment)
        state.failures = 0
        state.rests_until = 0.0

    def failed(self, deployment: str, settings: UpstreamSettings) -> None:
        """Count a failure; enough in a row start the cooldown."""
        state = self._state(deployment)
        state.failures += 1
        if state.failures >= settings.cooldown_failures:
            state.rests_until = self._clock() + settings.cooldown_s

    def _state(self, deployment: str) -> _State:
        state = self._states.get(deployment)
        if state is None:
            state = self._states[deployment] = _State()
        return state
