"""What the keeper does next with one engine: a function of what it sees, without clock or process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backend.settings.knobs import EngineSettings


class State(StrEnum):
    """How an engine is; ``attached`` ones are only ever stopped (not watched), ready or ill."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    ILL = "ill"
    CHANGING = "changing"
    STOPPING = "stopping"
    WAITING = "waiting"
    """It failed and is started again at ``due_at``."""


class Step(StrEnum):
    """One step of the keeper."""

    REST = "rest"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    APPLY = "apply"
    WELCOME = "welcome"
    """Its first token came: it takes calls from now on."""
    BACK_OFF = "back off"
    """It failed: end what is left of it, start it again after a pause."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the last checks of a living engine found."""

    token: bool = False
    """Whether the latest check got a token, or saw that others got theirs."""
    failures: int = 0
    """Checks in a row that did not."""
    wedged: bool = False
    complaint: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything a decision needs; times in seconds."""

    wanted: bool
    """Whether it shall run."""
    request: str
    """restart, apply or nothing."""
    state: State
    alive: bool
    code: int | None
    """Exit code of a process that ended; None while it lives or when there was none."""
    age_s: float = 0.0
    """Since it was started."""
    due_in_s: float = 0.0
    """Until it may be started again; negative when it may."""
    pulse: Pulse = Pulse()


@dataclass(frozen=True, slots=True)
class Decision:
    """A step, and why, for people."""

    step: Step
    why: str = ""


def decide(sight: Sight, knobs: EngineSettings) -> Decision:
    """The next step for a managed engine."""
    if not sight.wanted:
        return Decision(Step.STOP if sight.alive else Step.REST)
    if not sight.alive:
        return _decide_absent(sight)
    if sight.request == "restart":
        return Decision(Step.RESTART)
    return _decide_starting(sight, knobs) if sight.state == State.STARTING else _decide_running(sight, knobs)


def _decide_running(sight: Sight, knobs: EngineSettings) -> Decision:
    pulse = sight.pulse
    if pulse.wedged:
        return Decision(Step.BACK_OFF, f"calls waited {knobs.wedge_s:g} s while none ran and no token came")
    if pulse.failures >= knobs.health_failures:
        return Decision(Step.BACK_OFF, f"{pulse.failures} checks in a row failed: {pulse.complaint}")
    return Decision(Step.APPLY if sight.request == "apply" else Step.REST)


def _decide_absent(sight: Sight) -> Decision:
    if sight.code is not None:
        return Decision(Step.BACK_OFF, describe_end(sight.code))
    if sight.due_in_s <= 0 or sight.request:
        return Decision(Step.START)
    return Decision(Step.REST)


def _decide_starting(sight: Sight, knobs: EngineSettings) -> Decision:
    if sight.pulse.token:
        return Decision(Step.WELCOME)
    if sight.age_s > knobs.start_deadline_s:
        why = f"no token within {knobs.start_deadline_s:g} s of its start: {sight.pulse.complaint or 'not answering'}"
        return Decision(Step.BACK_OFF, why)
    return Decision(Step.REST)


def pause_s(failures: int, knobs: EngineSettings) -> float:
    """Seconds before a start that follows so many failures in a row: doubling, bounded."""
    return min(knobs.backoff_first_s * float(2 ** min(max(failures, 1) - 1, 30)), knobs.backoff_most_s)


def describe_end(code: int) -> str:
    """How an engine ended, for people; guards tell signals as 128 + n, Python as -n."""
    number = -code if code < 0 else code - 128
    names = {9: "SIGKILL (killed by somebody, or for want of memory)", 11: "SIGSEGV", 15: "SIGTERM", 6: "SIGABRT"}
    if number in names:
        return f"it was ended by {names[number]}"
    return f"it ended with exit code {code}"
