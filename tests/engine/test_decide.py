from __future__ import annotations

from typing import Any

import pytest

from backend.engine.decide import Pulse, Sight, State, Step, decide, describe_end, pause_s
from backend.settings.knobs import EngineSettings

KNOBS = EngineSettings(
    health_failures=3, wedge_s=30, start_deadline_s=100, backoff_first_s=2, backoff_most_s=10, steady_s=60
)
ILL = Pulse(failures=3, complaint="status 503")


def sight(**changes: Any) -> Sight:
    fixed: dict[str, Any] = {"wanted": True, "request": "", "state": State.READY, "alive": True, "code": None}
    return Sight(**(fixed | changes))


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (sight(wanted=False), Step.STOP),
        (sight(wanted=False, alive=False), Step.REST),
        (sight(wanted=False, pulse=ILL), Step.STOP),
        (sight(alive=False, state=State.STOPPED), Step.START),
        (sight(alive=False, state=State.WAITING, due_in_s=3), Step.REST),
        (sight(alive=False, state=State.WAITING, due_in_s=-1), Step.START),
        (sight(alive=False, state=State.WAITING, due_in_s=3, request="start"), Step.START),
        (sight(alive=False, code=1), Step.BACK_OFF),
        (sight(state=State.STARTING), Step.REST),
        (sight(state=State.STARTING, pulse=Pulse(failures=50)), Step.REST),
        (sight(state=State.STARTING, pulse=Pulse(token=True)), Step.WELCOME),
        (sight(state=State.STARTING, age_s=101), Step.BACK_OFF),
        (sight(state=State.STARTING, request="apply"), Step.REST),
        (sight(pulse=Pulse(token=True)), Step.REST),
        (sight(pulse=Pulse(failures=2)), Step.REST),
        (sight(pulse=ILL), Step.BACK_OFF),
        (sight(pulse=Pulse(wedged=True)), Step.BACK_OFF),
        (sight(request="restart"), Step.RESTART),
        (sight(request="restart", pulse=ILL), Step.RESTART),
        (sight(request="apply"), Step.APPLY),
        (sight(request="apply", pulse=ILL), Step.BACK_OFF),
    ],
)
def test_the_next_step_follows_from_what_is_seen(seen: Sight, step: Step) -> None:
    assert decide(seen, KNOBS).step == step


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (sight(pulse=ILL), "3 checks in a row failed: status 503"),
        (sight(pulse=Pulse(wedged=True)), "calls waited 30 s while none ran and no token came"),
        (sight(alive=False, code=137), "it was ended by SIGKILL (killed by somebody, or for want of memory)"),
        (sight(state=State.STARTING, age_s=101), "no token within 100 s of its start: not answering"),
    ],
)
def test_a_failure_says_why(seen: Sight, why: str) -> None:
    assert decide(seen, KNOBS).why == why


def test_pauses_double_up_to_a_bound() -> None:
    assert [pause_s(failures, KNOBS) for failures in (0, 1, 2, 3, 4, 5, 5000)] == [2, 2, 4, 8, 10, 10, 10]


def test_an_end_is_told_as_people_know_it() -> None:
    assert describe_end(1) == "it ended with exit code 1"
    assert describe_end(-11) == "it was ended by SIGSEGV"
    assert describe_end(139) == "it was ended by SIGSEGV"
