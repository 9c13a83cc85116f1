"""Minds one engine that is launched here: looks, decides, acts, again and again."""

from __future__ import annotations

import time
from dataclasses import dataclass

from backend.engine.change import SETTLE_S, apply_change
from backend.engine.decide import Pulse, Sight, State, Step, decide, pause_s
from backend.engine.deployments import NotLed, point_deployments
from backend.engine.health import Place
from backend.engine.journal import Happening, now_ms, read_spec, write_spec
from backend.engine.last_words import with_last_words
from backend.engine.launch import find_python, plan_launch
from backend.engine.process import KILL_MARGIN_S, EngineProcess, Pid, end_left, free_port, name_pid_space
from backend.engine.pulse import Feeler
from backend.engine.round import House, Round, View
from backend.errors import GatewayError
from backend.settings.document import UnreadableSettings
from backend.settings.knobs import EngineSpec
from db.failures import DatabaseAway, RowsRefused, judged

STARTING_CHECK_S = 1.0
CLOSE_WITHIN_S = 8.0


@dataclass(slots=True)
class Running:
    """A launched engine and what its checks find."""

    spec: EngineSpec
    process: EngineProcess
    place: Place
    feeler: Feeler
    started_s: float
    """Monotonic."""


class Minder(Round):
    """One managed engine: its process and its state."""

    def __init__(self, house: House, view: View) -> None:
        super().__init__(house, view)
        self.running: Running | None = None
        self._failures = 0
        self._ready_s = 0.0
        self._due_s = 0.0
        self._row = view.row
        self._pointed: object = None
        self._done_at: int | None = None

    @property
    def wanted(self) -> bool:
        """Whether it shall run."""
        return self.view.row.wanted == "running" and self.view.spec is not None

    def open(self) -> None:
        """Ends what a keeper before this one left running; what people want of it is done anew."""
        row = self.view.row
        if row.pid is not None and row.pid_started_at is not None:
            ended = end_left(Pid(row.pid, row.pid_started_at), row.pid_space)
            if ended:
                self.tell("orphan", f"{ended} processes of an earlier keeper were ended")
        self.journal.state(self.state, pid=None, port=None)

    def turn(self) -> None:
        """One look and one step, for what is asked for now: what comes meanwhile is for the next turn."""
        self._row = self.view.row
        decision = decide(self._see(), self.view.knobs)
        if decision.step == Step.BACK_OFF:
            self._back_off(decision.why)
            return
        steps = {
            Step.START: self._start,
            Step.STOP: self._stop,
            Step.RESTART: self._restart,
            Step.APPLY: self._apply,
            Step.WELCOME: self._welcome,
            Step.REST: self._rest,
        }
        steps[decision.step]()

    def close(self) -> None:
        """The keeper ends: so does the engine; the next keeper starts it again if it is still wanted."""
        if self.running is not None:
            self.running.process.end(CLOSE_WITHIN_S)
            self.running = None
        self.journal.state(State.STOPPED, "its keeper ended", pid=None, port=None)

    def launch(self, spec: EngineSpec, port: int | None = None) -> Running:
        """Starts a process for this specification, on a free port unless it says which. Raises ``OSError``."""
        if not find_python(self.house.environment).exists():
            raise FileNotFoundError("there is no vLLM on this machine; `make engine` sets it up")
        drain_s = self.view.knobs.drain_s
        port = port or spec.port or free_port()
        launch = plan_launch(spec, port, drain_s=drain_s, environment=self.house.environment)
        process = EngineProcess(launch, self.house.folder / spec.name, drain_s + KILL_MARGIN_S)
        place = Place(launch.url, spec.served)
        feeler = Feeler(self.house.engine, self.name, place, spec.server)
        return Running(spec, process, place, feeler, time.monotonic())

    def adopt(self, running: Running, state: State, launched: EngineSpec | None = None) -> None:
        """This process is the engine from now on; the next keeper starts ``launched`` while it is not proven."""
        self.running, self.state = running, state
        self._ready_s = time.monotonic()
        pid, port = running.process.pid, running.process.launch.port
        self.journal.state(
            state,
            launched=write_spec(launched or running.spec),
            pid=pid.number,
            pid_started_at=pid.started_at,
            pid_space=name_pid_space(),
            port=port,
            ready_at=now_ms() if state == State.READY else None,
            due_at=None,
        )

    def point(self, running: Running) -> bool:
        """Leads its deployments to it where that can be done, else says why not; whether they changed."""
        try:
            return self.lead(running)
        except NotLed as error:
            self.journal.note(message=f"its deployment cannot be changed: {error}")
            return False

    def lead(self, running: Running) -> bool:
        """Leads its deployments to it, with those knobs of the settings that apply at once; whether they changed.

        Raises ``NotLed``.
        """
        said = self.view.spec or running.spec
        live = {name: getattr(said, name) for name in ("max_running", "usd_per_gpu_hour")}
        spec = running.spec.model_copy(update=live)
        wanted = (spec, running.place.url)
        if wanted == self._pointed:
            return False
        self._pointed = None
        try:
            with judged():
                changed = point_deployments(self.house.engine, spec, running.place.url, self.journal.own)
        except (GatewayError, DatabaseAway, RowsRefused, UnreadableSettings) as error:
            raise NotLed(str(error)) from None
        self._pointed = wanted
        return changed

    def tell(self, kind: str, message: str) -> None:
        """Writes down an event that nobody asked for."""
        self.journal.happened(Happening(kind, message, self.journal.own))

    def _see(self) -> Sight:
        running, now_s = self.running, time.monotonic()
        code = running.process.code if running else None
        alive = running is not None and code is None
        return Sight(
            wanted=self.wanted,
            request=self._request,
            state=self.state,
            alive=alive,
            code=code,
            age_s=now_s - running.started_s if running else 0.0,
            due_in_s=self._due_s - now_s,
            pulse=self._feel(running) if running and alive and self.wanted else Pulse(),
        )

    def _feel(self, running: Running) -> Pulse:
        knobs = self.view.knobs
        longest_s = STARTING_CHECK_S if self.state == State.STARTING else knobs.health_period_s
        return running.feeler.feel(knobs, min(longest_s, knobs.health_period_s))

    def _rest(self) -> None:
        running = self.running
        if running is not None and running.process.code is not None:
            running.process.kill()
            self.running = None
        if running is not None and self.state == State.READY:
            self.point(running)
            self.sweeper.look(running.place, running.spec, self.view.knobs, running.process.pid)
        if self._request == "start":
            self.carried_out()
        if not self.wanted and self.state != State.STOPPED:
            self._stop()

    def _start(self) -> None:
        """Launches what ran last, so that what is staged stays staged; after a stop, what the settings say.

        Where what ran last fails, ``apply`` means to start with the settings at once.
        """
        at_once = self._request == "apply" and self.state == State.WAITING
        launched = None if at_once else read_spec(self.view.row.launched)
        spec = launched or self.view.spec
        if launched is None or self._request != "apply":
            self.carried_out()
        if spec is None:
            return
        try:
            running = self.launch(spec)
        except OSError as error:
            self._fail(f"it cannot be started: {error}")
            return
        self.adopt(running, State.STARTING)
        self.journal.happened(Happening("start", f"started on port {running.process.launch.port}", self.view.by))

    def _welcome(self) -> None:
        running = self.running
        if running is None:
            return
        took_s = time.monotonic() - running.started_s
        if self.point(running):
            self.pause(SETTLE_S)
        self.tell("ready", f"first token after {took_s:.1f} s")
        self.adopt(running, State.READY)

    def _restart(self) -> None:
        self.journal.state(State.STOPPING, "restarting")
        self.journal.happened(Happening("restart", "restarted by request", self.view.by))
        self._end_process()
        self._failures = 0
        self._start()

    def _apply(self) -> None:
        try:
            if self.view.spec is not None:
                apply_change(self, self.view.spec)
        except OSError as error:
            self.tell("return", f"the change cannot be started: {error}")
        finally:
            self.carried_out()
            if self.state == State.CHANGING and self.running is not None and self.running.process.code is None:
                self.adopt(self.running, State.READY)

    def _stop(self) -> None:
        self.journal.state(State.STOPPING)
        self._end_process()
        self.state, self._failures, self._due_s, self._pointed = State.STOPPED, 0, 0.0, None
        self.journal.happened(Happening("stop", "stopped by request", self.view.by))
        self.journal.state(State.STOPPED, pid=None, port=None, launched=None, ready_at=None, due_at=None)
        self.carried_out()

    def _end_process(self) -> None:
        self.sweeper.interrupt()
        if self.running is not None:
            self.running.process.end(self.view.knobs.drain_s)
            self.running = None

    def _back_off(self, why: str) -> None:
        if self.running is not None:
            self.running.process.kill()
            why = with_last_words(why, self.running.process.log)
            self.running = None
        if self.state == State.READY and time.monotonic() - self._ready_s > self.view.knobs.steady_s:
            self._failures = 0
        self._fail(why)

    def _fail(self, why: str) -> None:
        self._failures += 1
        pause = pause_s(self._failures, self.view.knobs)
        self._due_s = time.monotonic() + pause
        self.state = State.WAITING
        facts = {"pid": None, "port": None, "ready_at": None, "restarts": self.view.row.restarts + 1}
        self.journal.state(self.state, why, due_at=now_ms() + round(pause * 1000), **facts)
        self.tell("back off", f"{why}; it starts again in {pause:g} s")
        if self._request != "apply":
            self.carried_out()

    def carried_out(self) -> None:
        """Whatever was asked for is done, or has failed for now."""
        if self._request:
            self._done_at = self._row.wanted_at
            self.journal.carried_out(self._row.wanted_at)

    @property
    def _request(self) -> str:
        """What this turn is asked for and was not yet done; the row may still say so when it is."""
        return self._row.request if self._row.wanted_at != self._done_at else ""
