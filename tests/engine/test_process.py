from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from backend.engine.launch import Launch
from backend.engine.process import (
    GUARD,
    KEPT_LOGS,
    EngineProcess,
    Pid,
    end_left,
    end_session,
    name_pid_space,
    open_log,
    session_bytes,
    session_members,
    started_at,
)

FAMILY = """
import signal, subprocess, sys, time
{prelude}
children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]) for _ in range(2)]
print("up", flush=True)
{ending}
"""
WAITS = "time.sleep(3600)"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def start(folder: Path, *, prelude: str = "", ending: str = WAITS, grace_s: float = 0.5) -> EngineProcess:
    script = FAMILY.format(prelude=prelude, ending=ending)
    found = EngineProcess(Launch((sys.executable, "-c", script), dict(os.environ), 1), folder, grace_s)
    while "up" not in found.log.read_text() and found.code is None:
        found.wait(0.02)
    return found


def family(process: EngineProcess) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in session_members(process.pid)]


def expect_gone(processes: list[psutil.Process]) -> None:
    assert not psutil.wait_procs(processes, timeout=30)[1]


def test_an_engine_has_a_session_of_its_own(tmp_path: Path) -> None:
    process = start(tmp_path)
    members = family(process)
    assert len(members) == 4
    assert os.getpid() not in [each.pid for each in members]
    assert session_bytes(process.pid) > 4 * 1024 * 1024
    process.end(1)
    expect_gone(members)


def test_an_engine_that_does_not_listen_is_killed_with_all_it_started(tmp_path: Path) -> None:
    process = start(tmp_path, prelude=STUBBORN)
    members = family(process)
    process.end(0.5)
    expect_gone(members)


def test_what_an_engine_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    process = start(tmp_path, ending="sys.exit(3)")
    assert process.wait(30)
    assert process.code == 3
    assert session_members(process.pid) == []
    process.kill()


def test_what_an_engine_leaves_in_a_session_of_its_own_ends_with_it(tmp_path: Path) -> None:
    """Nobody waits for it, as nobody can: its end is not the engine's."""
    away = "print(subprocess.Popen(['sleep', '3600'], start_new_session=True).pid, 'is away', flush=True)"
    process = start(tmp_path, prelude=away, ending="sys.exit(3)")
    left = psutil.Process(int(process.log.read_text().split()[0]))
    try:
        assert process.wait(20)
        assert process.code == 3
        expect_gone([left])
    finally:
        process.kill()


def test_what_is_left_is_ended_only_where_its_number_is_known_to_be_its_own(tmp_path: Path) -> None:
    process = start(tmp_path)
    guard, *others = family(process)
    assert end_left(process.pid, None) == 0
    assert end_left(process.pid, "another boot pid:[1]") == 0
    guard.kill()
    process.wait(30)
    assert end_left(process.pid, name_pid_space()) == 0
    assert all(each.is_running() for each in others)
    process.kill()
    expect_gone(others)


def test_an_engine_killed_by_a_signal_says_so(tmp_path: Path) -> None:
    process = start(tmp_path, ending="import os; os.kill(os.getpid(), signal.SIGKILL)")
    assert process.wait(30)
    assert process.code == 128 + signal.SIGKILL
    process.kill()


def test_an_engine_does_not_outlive_whoever_started_it(tmp_path: Path) -> None:
    """The starter is killed: nobody can tell the guard but the pipe that ends."""
    script = (
        f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n"
        "from pathlib import Path; from tests.engine.test_process import start\n"
        f"print(start(Path({str(tmp_path)!r})).pid.number, flush=True)\n"
        "import time; time.sleep(3600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    leader = int(starter.stdout.readline())
    members = [psutil.Process(pid) for pid in session_members(Pid(leader, started_at(leader) or 0))]
    assert len(members) == 4
    starter.kill()
    starter.wait()
    starter.stdout.close()
    expect_gone(members)


def test_a_session_is_ended_even_when_its_leader_has_gone(tmp_path: Path) -> None:
    process = start(tmp_path)
    guard, *others = family(process)
    guard.kill()
    process.wait(30)
    assert end_session(process.pid) == len(others)
    expect_gone(others)
    process.kill()


def test_a_namesake_of_a_later_time_is_nobodys_engine(tmp_path: Path) -> None:
    process = start(tmp_path)
    namesake = Pid(process.pid.number, process.pid.started_at - 1)
    assert session_members(namesake) == []
    assert end_session(namesake) == 0
    assert process.code is None
    process.end(1)


def test_logs_of_earlier_starts_are_kept_a_few(tmp_path: Path) -> None:
    for number in range(KEPT_LOGS + 3):
        open_log(tmp_path).write_text(f"start {number}")
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert texts["engine.log"] == f"start {KEPT_LOGS + 2}"
    assert texts["engine.log.1"] == f"start {KEPT_LOGS + 1}"
    assert len(texts) == KEPT_LOGS + 1


def test_the_guard_needs_nothing_but_the_standard_library() -> None:
    command = [sys.executable, "-I", str(GUARD), "1", sys.executable, "-c", "raise SystemExit(5)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as guard:
        assert guard.wait(30) == 5


@pytest.mark.parametrize("pid", [0, 2**22 + 1])
def test_a_process_that_is_not_there_has_no_start(pid: int) -> None:
    assert started_at(pid) is None
