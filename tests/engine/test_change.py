from __future__ import annotations

from typing import Any

import orjson
import psutil
import pytest

from backend.engine import change, wishes
from backend.engine.change import sum_up_tries
from backend.engine.process import Pid, session_members
from backend.engine.trial import measure
from db.engine_traffic import Try
from tests.engine.houses import BY, KeptHouse, tell_fake

MEASURED = ("calls", "tokens_per_s", "ttft_p95_ms", "itl_p95_ms", "nusd_per_mtok")


def make_room(monkeypatch: pytest.MonkeyPatch, *, room: bool) -> None:
    monkeypatch.setattr(change, "has_room_for_both", lambda *_: room)


def apply(house: KeptHouse, **values: Any) -> None:
    house.change("small", **values)
    wishes.apply_engine(house.engine, "small", BY)


def launched(house: KeptHouse) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(house.row().launched or "")
    return found


def processes(house: KeptHouse) -> list[psutil.Process]:
    row = house.row()
    assert row.pid is not None
    assert row.pid_started_at is not None
    return [psutil.Process(pid) for pid in session_members(Pid(row.pid, row.pid_started_at))]


def test_a_change_starts_beside_what_runs_and_is_measured_before_and_after(ready: KeptHouse) -> None:
    old, port = processes(ready), ready.row().port
    apply(ready, max_num_seqs=9)
    event = ready.wait_for_kind("apply")
    assert (event.actor, event.message) == ("ada", "the old process served until the new one did")
    assert orjson.loads(event.changes or "") == [{"path": "max_num_seqs", "before": 4, "after": 9}]
    for figures in (orjson.loads(event.before or ""), orjson.loads(event.after or "")):
        assert figures["error_rate"] == 0.0
        assert (
            min(figures[name] for name in ("calls", "tokens_per_s", "ttft_p95_ms", "itl_p95_ms", "nusd_per_mtok")) > 0
        )
    row = ready.wait_for_state("ready")
    assert row.port != port
    assert ready.deployment("small").base_url == f"http://127.0.0.1:{row.port}/v1"  # type: ignore[union-attr]
    assert launched(ready)["max_num_seqs"] == 9
    assert not psutil.wait_procs(old, timeout=30)[1]
    assert ready.kinds() == ["start", "ready", "apply"]


def test_without_room_the_old_process_ends_first(ready: KeptHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    make_room(monkeypatch, room=False)
    apply(ready, max_num_seqs=9)
    assert ready.wait_for_kind("apply").message == "the old process ended first"
    ready.wait_for_state("ready")
    assert launched(ready)["max_num_seqs"] == 9


def test_a_change_that_breaks_a_target_is_taken_back(ready: KeptHouse) -> None:
    old, port = processes(ready), ready.row().port
    ready.tune(slo_itl_p95_ms=100.0)
    apply(ready, model="fake/slow")
    event = ready.wait_for_kind("return")
    assert "ITL p95 ms" in event.message
    assert orjson.loads(event.after or "")["itl_p95_ms"] > 100
    row = ready.wait_for_state("ready")
    assert (row.port, launched(ready)["model"]) == (port, "fake/ok")
    assert all(each.is_running() for each in old)
    assert "taken back" in (row.message or "")


def test_a_change_that_breaks_a_target_without_room_brings_the_old_one_back(
    ready: KeptHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_room(monkeypatch, room=False)
    ready.tune(slo_itl_p95_ms=100.0)
    apply(ready, model="fake/slow")
    ready.wait_for_kind("return")
    ready.wait_for_state("ready")
    assert launched(ready)["model"] == "fake/ok"


@pytest.mark.parametrize("room", [True, False])
def test_a_change_that_does_not_start_leaves_the_engine_as_it_was(
    ready: KeptHouse, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    make_room(monkeypatch, room=room)
    apply(ready, model="fake/oom-exit")
    assert "with the change it ended with exit code 1" in ready.wait_for_kind("return").message
    ready.wait_for_state("ready")
    assert launched(ready)["model"] == "fake/ok"


def test_a_changed_engine_that_falls_ill_under_real_calls_goes_back(ready: KeptHouse) -> None:
    ready.tune(trial_s=50.0)
    port = ready.row().port
    apply(ready, max_num_seqs=9)
    ready.wait(lambda: ready.row().message == "watching real calls after the change" and ready.row().port != port)
    tell_fake(ready.row().port, "fail")
    assert "its checks failed" in ready.wait_for_kind("return").message
    ready.wait_for_state("ready")
    assert launched(ready)["max_num_seqs"] == 4


def test_a_trial_that_breaks_down_leaves_no_second_process(ready: KeptHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    old, ports = processes(ready), [ready.row().port]

    def break_down(place: Any, spec: Any, seconds: float) -> Any:
        if place.url != f"http://127.0.0.1:{ports[0]}/v1":
            ports.append(int(place.url.split(":")[2].partition("/")[0]))
            raise RuntimeError("a fault in the trial")
        return measure(place, spec, seconds)

    monkeypatch.setattr(change, "measure", break_down)
    apply(ready, max_num_seqs=9)
    ready.wait(lambda: len(ports) == 2)
    row = ready.wait_for_state("ready")
    assert (row.port, launched(ready)["max_num_seqs"]) == (ports[0], 4)
    assert all(each.is_running() for each in old)
    with pytest.raises(OSError, match="refused"):
        tell_fake(ports[1], "ok")


def test_a_stop_during_a_change_stops(ready: KeptHouse) -> None:
    ready.tune(trial_s=500.0)
    apply(ready, max_num_seqs=9)
    ready.wait(lambda: ready.row().message == "watching real calls after the change")
    current = processes(ready)
    wishes.stop_engine(ready.engine, "small", BY)
    ready.wait_for_state("stopped")
    assert not psutil.wait_procs(current, timeout=30)[1]


def test_nothing_staged_is_nothing_to_do(ready: KeptHouse) -> None:
    pid = ready.row().pid
    wishes.apply_engine(ready.engine, "small", BY)
    ready.wait(lambda: not ready.row().request)
    assert (ready.row().pid, ready.kinds()) == (pid, ["start", "ready"])


def test_recorded_calls_judge_an_engine_only_when_there_are_enough() -> None:
    good = Try(http_status=200, error_code=None, ttft_ms=100.0, itl_ms=10.0, streamed=True)
    assert sum_up_tries([good] * 9) is None
    figures = sum_up_tries([good] * 10)
    assert figures is not None
    assert (figures.error_rate, figures.ttft_p95_ms, figures.itl_p95_ms) == (0.0, 100.0, 10.0)


def test_what_clients_got_wrong_is_not_the_engines_fault() -> None:
    good = Try(http_status=200, error_code=None, ttft_ms=100.0, itl_ms=10.0, streamed=True)
    wrong = Try(http_status=400, error_code="upstream_400", ttft_ms=None, itl_ms=None, streamed=True)
    gone = Try(http_status=None, error_code="client_disconnected", ttft_ms=None, itl_ms=None, streamed=True)
    broken = Try(http_status=None, error_code="upstream_unreachable", ttft_ms=None, itl_ms=None, streamed=True)
    figures = sum_up_tries([good] * 9 + [wrong, gone, broken])
    assert figures is not None
    assert (figures.calls, figures.error_rate) == (10, 0.1)


def test_only_streamed_calls_say_when_their_first_token_came() -> None:
    streamed = Try(http_status=200, error_code=None, ttft_ms=100.0, itl_ms=10.0, streamed=True)
    whole = Try(http_status=200, error_code=None, ttft_ms=9000.0, itl_ms=None, streamed=False)
    mixed, few = sum_up_tries([streamed] * 10 + [whole] * 10), sum_up_tries([streamed] * 9 + [whole] * 10)
    assert mixed is not None
    assert few is not None
    assert (mixed.calls, mixed.ttft_p95_ms, few.ttft_p95_ms) == (20, 100.0, None)
