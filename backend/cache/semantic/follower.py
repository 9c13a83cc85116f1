"""A thread that keeps a worker's own index in step with what all workers store."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Follower:
    """Takes one step after another while there is more to do, else one every so often; survives every failure."""

    def __init__(self, step: Callable[[], bool], every_s: float) -> None:
        self._step = step
        self._every_s = every_s
        self._woken = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="semantic-index", daemon=True)
        self.failures = 0
        self.last_failure: str | None = None
        self._thread.start()

    def wake(self) -> None:
        """Take the next step now."""
        self._woken.set()

    def stop(self, timeout_s: float = 3.0) -> None:
        """End after the step under way; waits for it so long."""
        self._stopping = True
        self._woken.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping:
            if not self._took_step():
                self._woken.wait(self._every_s)
                self._woken.clear()

    def _took_step(self) -> bool:
        """Whether there is more to do at once."""
        try:
            return self._step()
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the next step may go well
            self.failures += 1
            self.last_failure = f"{type(error).__name__}: {error}"[:200]
            return False
