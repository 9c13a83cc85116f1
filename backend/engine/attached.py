"""Watches one engine that somebody else runs: is it well, and do its deployments lead to it? It is never restarted."""

from __future__ import annotations

from backend.engine.decide import State
from backend.engine.deployments import point_deployments
from backend.engine.health import Place
from backend.engine.journal import Happening, now_ms
from backend.engine.pulse import Feeler
from backend.engine.round import Round
from backend.errors import GatewayError
from backend.settings.knobs import EngineSpec


class Visitor(Round):
    """One attached engine."""

    _spec: EngineSpec | None = None
    _pointed: EngineSpec | None = None
    _feeler: Feeler | None = None

    def open(self) -> None:
        """Nothing is left of an earlier keeper."""
        self.journal.state(State.STOPPED, pid=None, port=None)

    def turn(self) -> None:
        """Check it when that is due, and write down when it became well or ill."""
        spec = self.view.spec
        if spec is None or self.view.row.wanted != "running":
            self._enter(State.STOPPED, "not watched")
            self._feeler = None
            return
        knobs = self.view.knobs
        pulse = self._feel_with(spec).feel(knobs, knobs.health_period_s)
        if pulse.token:
            self._point(spec)
            self._enter(State.READY, "answers")
            self.sweeper.look(place_of(spec), spec, knobs)
        elif pulse.wedged or pulse.failures >= knobs.health_failures:
            self._enter(State.ILL, pulse.complaint)
        if self.view.row.request:
            self.journal.carried_out(self.view.row.wanted_at)

    def close(self) -> None:
        """It runs on without being watched."""
        self.journal.state(State.STOPPED, "its keeper ended")

    def _feel_with(self, spec: EngineSpec) -> Feeler:
        if self._feeler is None or spec != self._spec:
            self._feeler = Feeler(self.house.engine, self.name, place_of(spec), spec.server)
            self._spec = spec
        return self._feeler

    def _point(self, spec: EngineSpec) -> None:
        if spec == self._pointed:
            return
        try:
            point_deployments(self.house.engine, spec, spec.base_url or "", self.journal.own)
        except GatewayError as error:
            self.journal.note(message=f"its deployment cannot be changed: {error}")
        self._pointed = spec

    def _enter(self, state: State, message: str) -> None:
        if state == self.state:
            return
        self.state = state
        self.journal.happened(Happening(state.value, message, self.journal.own))
        self.journal.state(state, message, ready_at=now_ms() if state == State.READY else None)


def place_of(spec: EngineSpec) -> Place:
    """Where an attached engine answers."""
    return Place(spec.base_url or "", spec.served, spec.api_key_env)
