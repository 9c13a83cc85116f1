from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.engine.launch import PYTHON_VARIABLE
from tests.cli.conftest import Governor
from tests.engine.houses import QUICK, KeptHouse, write_fake_python

WHY = ("--reason", "a test")
ADD = ("engine", "add", "small", "--model", "fake/ok", "--set", "max_num_seqs=4", *WHY)


@pytest.fixture
def kept(
    ready: Governor, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Governor, KeptHouse]]:
    """The command beside a keeper of its data folder."""
    monkeypatch.setenv(PYTHON_VARIABLE, str(write_fake_python(tmp_path)))
    with KeptHouse(data_dir) as house:
        house.tune(**QUICK)
        house.start_keeper()
        yield ready, house


def test_an_engine_lives_from_add_to_remove(kept: tuple[Governor, KeptHouse]) -> None:
    governor, house = kept
    assert governor(*ADD).code == 0
    assert governor("engine", "list", "--json").lines[0]["state"] == "stopped"
    started = governor("engine", "start", "small", "--wait", "60", "--json", *WHY)
    assert (started.code, started.lines[0]["state"]) == (0, "ready")
    status = governor("engine", "status", "small", "--json")
    assert status.code == 0
    assert [event["kind"] for event in status.lines[0]["events"]] == ["ready", "start"]
    assert "fake vLLM serves fake/ok" in governor("engine", "logs", "small").out
    assert governor("engine", "restart", "small", "--wait", "60", *WHY).code == 0
    assert governor("engine", "logs", "small", "--earlier", "1").out
    stopped = governor("engine", "stop", "small", "--wait", "60", *WHY)
    assert (stopped.code, stopped.out) == (0, "small is stopped.\n")
    assert governor("engine", "remove", "small", *WHY).code == 0
    house.wait(lambda: not governor("engine", "list", "--json").lines)


def test_a_change_is_staged_shown_and_applied(kept: tuple[Governor, KeptHouse]) -> None:
    governor, _ = kept
    governor(*ADD)
    governor("engine", "start", "small", "--wait", "60", *WHY)
    assert governor("engine", "change", "small", "--set", "max_num_seqs=9", *WHY).code == 0
    status = governor("engine", "status", "small")
    assert (status.code, "staged    max_num_seqs: 4 → 9" in status.out) == (0, True)
    asked = governor("engine", "apply", "small", *WHY)
    assert (asked.code, asked.out.startswith("small: apply is asked for; it is ")) == (0, True)
    assert governor("engine", "apply", "small", "--wait", "60", *WHY).code == 0
    assert governor("engine", "status", "small", "--json").lines[0]["staged"] == []


def test_a_change_that_was_taken_back_is_a_failure(kept: tuple[Governor, KeptHouse]) -> None:
    governor, _ = kept
    governor(*ADD)
    governor("engine", "start", "small", "--wait", "60", *WHY)
    governor("engine", "change", "small", "--set", "model=fake/oom-exit", *WHY)
    applied = governor("engine", "apply", "small", "--wait", "60", *WHY)
    assert (applied.code, "taken back" in applied.err) == (1, True)


def test_what_is_not_done_in_time_is_a_failure(kept: tuple[Governor, KeptHouse]) -> None:
    governor, _ = kept
    governor("engine", "add", "small", "--model", "fake/never-ready", *WHY)
    started = governor("engine", "start", "small", "--wait", "0.1", *WHY)
    assert (started.code, started.err.startswith("governor: small is ")) == (1, True)
    assert governor("engine", "status", "small").code == 1


def test_without_a_keeper_a_wish_says_so(ready: Governor) -> None:
    ready(*ADD)
    started = ready("engine", "start", "small", *WHY)
    assert (started.code, "no keeper runs" in started.out) == (0, True)
    assert ready("engine", "list", "--json").lines[0]["state"] == "unkept"


def test_presets_are_listed_and_used(ready: Governor) -> None:
    assert "cpu" in ready("engine", "presets").out
    assert ready("engine", "add", "small", "--model", "m", "--preset", "cpu", *WHY).code == 0
    shown = ready("settings", "show", "engine.engines.small", "--json").lines[0]
    assert shown["extra_args"] == ["--enforce-eager"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("engine", "start", "big", *WHY), 1, "no engine big"),
        (("engine", "logs", "big"), 1, "no engine big"),
        (("engine", "add", "a", "--model", "m", "--preset", "huge", *WHY), 2, "presets are"),
        (("engine", "add", "a", "--model", "m", "--set", "dtype", *WHY), 2, "KNOB=VALUE"),
        (("engine", "add", "a", "--model", "m", "--set", "extra_args=[--port=1]", *WHY), 1, "allow-list"),
        (("engine", "start", "big"), 2, "reason"),
    ],
)
def test_what_cannot_be_done_says_why(ready: Governor, arguments: tuple[str, ...], code: int, message: str) -> None:
    said = ready(*arguments)
    assert (said.code, message in said.err) == (code, True), said.err
