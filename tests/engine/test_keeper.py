from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import psutil
import pytest

from backend.engine import wishes
from backend.engine.journal import now_ms
from backend.engine.launch import PYTHON_VARIABLE
from backend.engine.process import Pid, name_pid_space, session_members
from tests.engine.houses import BY, KeptHouse, tell_fake, write_fake_python

SMALL = {"name": "small"}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeptHouse]:
    monkeypatch.setenv(PYTHON_VARIABLE, str(write_fake_python(tmp_path)))
    with KeptHouse(tmp_path) as found:
        yield found


@pytest.fixture
def ready(house: KeptHouse) -> KeptHouse:
    """A house whose engine small is ready."""
    house.configure(SMALL)
    wishes.start_engine(house.engine, "small", BY)
    house.start_keeper()
    house.wait_for_state("ready")
    return house


def family(house: KeptHouse) -> list[psutil.Process]:
    """Every process of the running engine, its guard first."""
    row = house.row()
    assert row.pid is not None
    assert row.pid_started_at is not None
    return [psutil.Process(pid) for pid in sorted(session_members(Pid(row.pid, row.pid_started_at)))]


def expect_gone(processes: list[psutil.Process]) -> None:
    assert not psutil.wait_procs(processes, timeout=30)[1]


def test_a_wanted_engine_starts_and_becomes_a_deployment(ready: KeptHouse) -> None:
    row, deployment = ready.row(), ready.deployment("small")
    assert deployment is not None
    assert (deployment.provider, deployment.model, deployment.upstream_model) == ("vllm", "small", "small")
    assert deployment.base_url == f"http://127.0.0.1:{row.port}/v1"
    assert ready.kinds() == ["start", "ready"]
    assert next((event.actor, event.reason) for event in ready.events()) == ("ada", "a test")
    ready.wait(ready.samples)


def test_a_stopped_engine_leaves_no_process_and_keeps_its_deployment(ready: KeptHouse) -> None:
    processes = family(ready)
    assert len(processes) == 3
    wishes.stop_engine(ready.engine, "small", BY)
    ready.wait_for_state("stopped")
    expect_gone(processes)
    assert ready.deployment("small") is not None
    assert ready.row().launched is None


def test_a_core_that_dies_is_restarted_with_its_whole_group(ready: KeptHouse) -> None:
    processes = family(ready)
    tell_fake(ready.row().port, "die-child")
    ready.wait_for_kind("ready", 2)
    expect_gone(processes)
    assert ready.kinds() == ["start", "ready", "back off", "start", "ready"]
    assert "exit code 1" in ready.events()[2].message
    assert ready.row().restarts == 1
    assert ready.deployment("small").base_url == f"http://127.0.0.1:{ready.row().port}/v1"  # type: ignore[union-attr]


def test_a_killed_guard_takes_nothing_with_it_that_stays(ready: KeptHouse) -> None:
    guard, *others = family(ready)
    guard.kill()
    ready.wait_for_kind("ready", 2)
    expect_gone(others)
    assert "SIGKILL" in ready.events()[2].message


@pytest.mark.parametrize("mode", ["garbage", "fail"])
def test_an_engine_that_gives_no_token_is_restarted(ready: KeptHouse, mode: str) -> None:
    tell_fake(ready.row().port, mode)
    assert "checks in a row failed" in ready.wait_for_kind("back off").message
    ready.wait_for_kind("ready", 2)


def test_a_wedged_engine_is_ended_though_it_does_not_react(house: KeptHouse) -> None:
    house.configure(SMALL, health_failures=100, health_deadline_s=0.3, wedge_s=0.5)
    wishes.start_engine(house.engine, "small", BY)
    house.start_keeper()
    house.wait_for_state("ready")
    tell_fake(house.row().port, "wedge")
    assert "none ran and no token came" in house.wait_for_kind("back off").message
    house.wait_for_kind("ready", 2)


def test_an_engine_that_is_only_busy_is_left_alone(house: KeptHouse) -> None:
    house.configure(SMALL, health_deadline_s=0.2, health_failures=1, wedge_s=60)
    wishes.start_engine(house.engine, "small", BY)
    house.start_keeper()
    house.wait_for_state("ready")
    tell_fake(house.row().port, "busy")
    known = len(house.samples())
    house.wait(lambda: len(house.samples()) >= known and house.generated() > 100)
    assert house.kinds() == ["start", "ready"]


def test_an_engine_that_cannot_start_waits_longer_each_time(house: KeptHouse) -> None:
    house.configure(SMALL | {"model": "fake/oom-exit"})
    wishes.start_engine(house.engine, "small", BY)
    house.start_keeper()
    last = house.wait_for_kind("back off", 3)
    assert "exit code 1" in last.message
    assert [event.message[-5:] for event in house.events() if event.kind == "back off"][:3] == [
        "0.1 s",
        "0.2 s",
        "0.2 s",
    ]
    assert "OutOfMemoryError" in (house.folder / "engines/small/engine.log.1").read_text()
    wishes.stop_engine(house.engine, "small", BY)
    house.wait_for_state("stopped")


def test_what_is_applied_to_an_engine_that_cannot_start_is_started_at_once(house: KeptHouse) -> None:
    house.configure(SMALL | {"model": "fake/oom-exit"}, backoff_first_s=3000, backoff_most_s=3000)
    wishes.start_engine(house.engine, "small", BY)
    house.start_keeper()
    house.wait_for_kind("back off")
    house.change("small", model="fake/ok")
    wishes.apply_engine(house.engine, "small", BY)
    house.wait_for_state("ready")


def test_without_vllm_an_engine_says_what_to_do(house: KeptHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, str(house.folder / "nowhere"))
    house.configure(SMALL)
    wishes.start_engine(house.engine, "small", BY)
    house.start_keeper()
    assert "`make engine`" in house.wait_for_kind("back off").message


def test_a_start_that_takes_too_long_is_given_up(house: KeptHouse) -> None:
    house.configure(SMALL | {"model": "fake/never-ready"}, start_deadline_s=1.0)
    wishes.start_engine(house.engine, "small", BY)
    house.start_keeper()
    assert "no token within 1 s of its start: status 503" in house.wait_for_kind("back off").message


def test_a_restart_keeps_what_is_staged_staged(ready: KeptHouse) -> None:
    ready.change("small", max_num_seqs=9)
    wishes.restart_engine(ready.engine, "small", BY)
    ready.wait_for_kind("ready", 2)
    ready.wait_for_state("ready")
    assert ready.kinds() == ["start", "ready", "restart", "start", "ready"]
    assert orjson.loads(ready.row().launched or "")["max_num_seqs"] == 4


def test_a_stop_and_a_start_take_the_settings(ready: KeptHouse) -> None:
    ready.change("small", max_num_seqs=9)
    wishes.stop_engine(ready.engine, "small", BY)
    ready.wait_for_state("stopped")
    wishes.start_engine(ready.engine, "small", BY)
    ready.wait_for_state("ready")
    assert orjson.loads(ready.row().launched or "")["max_num_seqs"] == 9


def test_the_admission_window_applies_at_once(ready: KeptHouse) -> None:
    ready.change("small", max_running=3)
    ready.wait(lambda: ready.deployment("small").max_parallel == 3)  # type: ignore[union-attr]
    assert ready.kinds() == ["start", "ready"]


def test_a_keeper_that_ends_ends_its_engines_and_the_next_starts_them(ready: KeptHouse) -> None:
    processes = family(ready)
    ready.end_keeper()
    expect_gone(processes)
    assert (ready.row().state, ready.row().wanted) == ("stopped", "running")
    ready.start_keeper()
    ready.wait_for_state("ready")


def test_what_a_killed_keeper_left_is_ended_by_the_next(house: KeptHouse) -> None:
    """A keeper of another machine's memory: its row names a process that still runs."""
    house.configure(SMALL)
    orphan = psutil.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
    wishes.start_engine(house.engine, "small", BY)
    house.note("small", pid=orphan.pid, pid_started_at=started_ticks(orphan.pid), pid_space=name_pid_space())
    house.start_keeper()
    house.wait_for_state("ready")
    assert orphan.wait(30) == -signal.SIGKILL
    assert house.kinds() == ["orphan", "start", "ready"]


@pytest.mark.parametrize(("later", "elsewhere"), [(1, ""), (0, "of another machine or boot")])
def test_a_process_that_only_has_the_number_of_an_old_engine_is_left_alone(
    house: KeptHouse, later: int, elsewhere: str
) -> None:
    house.configure(SMALL)
    stranger = psutil.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
    try:
        wishes.start_engine(house.engine, "small", BY)
        said = {"pid": stranger.pid, "pid_started_at": started_ticks(stranger.pid) - later}
        house.note("small", **said, pid_space=elsewhere or name_pid_space())
        house.start_keeper()
        house.wait_for_state("ready")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_engines_do_not_disturb_each_other(house: KeptHouse) -> None:
    house.configure(SMALL, {"name": "other"})
    for name in ("small", "other"):
        wishes.start_engine(house.engine, name, BY)
    house.start_keeper()
    house.wait_for_state("ready", "small")
    house.wait_for_state("ready", "other")
    tell_fake(house.row("small").port, "die-child")
    house.wait_for_kind("ready", 2, "small")
    assert house.kinds("other") == ["start", "ready"]


def test_a_removed_engine_is_ended_and_forgotten(ready: KeptHouse) -> None:
    processes = family(ready)
    wishes.remove_engine(ready.engine, "small", BY)
    expect_gone(processes)
    ready.wait(lambda: not ready.is_known("small"))
    assert ready.deployment("small") is None


def test_an_engine_of_another_machine_is_left_to_its_keeper(house: KeptHouse) -> None:
    house.configure(SMALL, {"name": "far", "machine": "elsewhere"})
    for name in ("far", "small"):
        wishes.start_engine(house.engine, name, BY)
    house.start_keeper()
    house.wait_for_state("ready")
    assert (house.row("far").state, house.row("far").keeper) == ("stopped", None)


def test_an_engine_that_another_keeper_took_is_ended_here_and_left_to_that(ready: KeptHouse) -> None:
    processes, beaten_at = family(ready), now_ms() + 20_000
    ready.note("small", keeper="elsewhere", heartbeat_at=beaten_at, state="ready", pid=7, port=7)
    expect_gone(processes)
    ready.end_keeper()
    row = ready.row()
    assert (row.keeper, row.heartbeat_at, row.state, row.pid, row.port) == ("elsewhere", beaten_at, "ready", 7, 7)


def test_an_engine_that_its_keeper_left_long_ago_is_taken(ready: KeptHouse) -> None:
    ready.note("small", keeper="elsewhere", heartbeat_at=now_ms() - 60_000)
    ready.wait(lambda: ready.row().keeper != "elsewhere")
    assert ready.kinds() == ["start", "ready"]


def test_an_attached_engine_is_watched_and_never_restarted(ready: KeptHouse) -> None:
    port = ready.row().port
    values = {"name": "near", "kind": "attached", "model": "small", "base_url": f"http://127.0.0.1:{port}/v1"}
    wishes.add_engine(ready.engine, values, BY)
    ready.wait_for_state("ready", "near")
    deployment = ready.deployment("near")
    assert deployment is not None
    assert (deployment.model, deployment.base_url) == ("small", f"http://127.0.0.1:{port}/v1")
    wishes.stop_engine(ready.engine, "small", BY)
    ready.wait_for_state("ill", "near")
    assert ready.kinds("near") == ["ready", "ill"]


def started_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
