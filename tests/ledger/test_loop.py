from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.environment import Environment
from backend.ledger.ledger import Ledger
from backend.ledger.loop import FULL_BATCH, Backoff, Loop
from backend.ledger.spool import Spool, worker_name
from backend.ledger.status import DrainerStatus, read_status
from db.engine import connect, reading
from db.failures import DatabaseAway
from db.tables import calls
from tests.ledger.samples import SETTINGS, finish, make_attempt, make_entry
from tests.sources import ROOT


class Script:
    """Steps whose answers a test has written down; the last one ends the loop."""

    def __init__(self, stop: threading.Event, answers: list[int | Exception]) -> None:
        self.stop = stop
        self.answers = answers
        self.done: list[str] = []

    def drain_once(self) -> int:
        self.done.append("drain_once")
        answer = self.answers.pop(0)
        if not self.answers:
            self.stop.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def drain(self) -> int:
        self.done.append("drain")
        return 0

    def tidy(self) -> None:
        self.done.append("tidy")

    def housekeep(self) -> None:
        self.done.append("housekeep")

    def status(self, error: str | None = None) -> DrainerStatus:
        return DrainerStatus(error=error)


class Waits(threading.Event):
    """A stop signal that remembers how long it was waited for and never waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return self.is_set()


def test_full_batches_follow_each_other_at_once_and_small_ones_wait(tmp_path: Path) -> None:
    stop = Waits()
    script = Script(stop, [FULL_BATCH, FULL_BATCH, 5, 0])
    Loop(script, tmp_path, stop).run()
    assert stop.waits[:2] == [0.0, 0.0]
    assert all(0.05 <= (wait or 0) <= 0.2 for wait in stop.waits[2:])
    assert script.done[:2] == ["drain_once", "tidy"]
    assert script.done[-1] == "drain"


def test_a_database_that_is_away_is_waited_for_with_bounded_patience(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stop = Waits()
    away: list[int | Exception] = [DatabaseAway("the server is gone") for _ in range(12)]
    Loop(Script(stop, [*away, 3, 0]), tmp_path, stop).run()
    assert stop.waits[:12] == sorted(wait or 0 for wait in stop.waits[:12])
    assert max(wait or 0 for wait in stop.waits) <= 2.0
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["draining stopped", "draining goes on"]


def test_trouble_is_told_in_the_status(tmp_path: Path) -> None:
    stop = Waits()
    Loop(Script(stop, [DatabaseAway("the server is gone")]), tmp_path, stop)._turn()
    status = read_status(tmp_path)
    assert status is not None
    assert status.error == "the server is gone"


def test_patience_starts_anew_after_trouble() -> None:
    backoff = Backoff()
    first = backoff.failed(DatabaseAway("gone"))
    assert backoff.failed(DatabaseAway("gone")) > first
    backoff.worked()
    assert backoff.error is None
    assert backoff.failed(DatabaseAway("gone")) == first


def test_a_stopping_drainer_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.ledger.loop.LAST_TRY_S", 0.0)
    stop = Waits()
    script = Script(stop, [0])

    def fail() -> int:
        script.done.append("drain")
        raise DatabaseAway("gone")

    monkeypatch.setattr(script, "drain", fail)
    Loop(script, tmp_path, stop).run()
    assert script.done.count("drain") == 1


def start_drainer(folder: Path) -> subprocess.Popen[bytes]:
    script = f"""
        from pathlib import Path
        from backend.environment import Environment
        from backend.ledger import drainer
        drainer.run(Environment(data_dir=Path({str(folder)!r})))
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT)


def wait_until(happened: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def count_calls(environment: Environment, state: str) -> int:
    engine = connect(environment.database)
    try:
        with reading(engine) as connection:
            return len(connection.execute(calls.select().where(calls.c.state == state)).all())
    finally:
        engine.dispose()


def write_calls(environment: Environment, count: int) -> Ledger:
    ledger = Ledger(Spool(environment.spool_dir, worker_name()), lambda: SETTINGS)
    for _ in range(count):
        entry = make_entry(ledger.worker)
        attempt = make_attempt(entry)
        ledger.dispatching(entry, attempt)
        finish(entry, attempt)
        ledger.record(entry)
    return ledger


def wait_for_work(process: subprocess.Popen[bytes], environment: Environment) -> None:
    def is_at_work() -> bool:
        status = read_status(environment.spool_dir)
        return status is not None and status.error is None and status.pid == process.pid

    wait_until(is_at_work)


def test_the_process_makes_the_schema_drains_and_ends_empty_on_sigterm(tmp_path: Path) -> None:
    environment = Environment(data_dir=tmp_path)
    with start_drainer(tmp_path) as process:
        wait_for_work(process, environment)
        ledger = write_calls(environment, 50)
        wait_until(lambda: count_calls(environment, "settled") == 50)
        entry = make_entry(ledger.worker)
        ledger.dispatching(entry, make_attempt(entry))
        ledger.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert count_calls(environment, "unknown") == 1
    assert [path.name for path in environment.spool_dir.iterdir() if path.suffix in {".spool", ".lock"}] == []


def test_kill_9_of_the_drainer_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    environment = Environment(data_dir=tmp_path)
    ledger = write_calls(environment, 2_000)
    for _ in range(3):
        with start_drainer(tmp_path) as process:
            wait_for_work(process, environment)
            process.kill()
    with start_drainer(tmp_path) as process:
        wait_for_work(process, environment)
        ledger.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert count_calls(environment, "settled") == 2_000
