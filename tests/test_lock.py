"""One process at a time."""

from __future__ import annotations

import threading
from pathlib import Path

from backend.lock import alone


def test_a_second_one_waits_for_the_first(tmp_path: Path) -> None:
    stop, entered, leave = threading.Event(), threading.Event(), threading.Event()
    turns: list[str] = []

    def first() -> None:
        with alone(tmp_path / "folder" / "one.alive", stop):
            entered.set()
            leave.wait(10)
            turns.append("first")

    def second() -> None:
        with alone(tmp_path / "folder" / "one.alive", stop):
            turns.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    leave.set()
    for thread in threads:
        thread.join(10)
    assert turns == ["first", "second"]


def test_whoever_waits_leaves_when_told_to_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with alone(tmp_path / "one.alive", threading.Event()), alone(tmp_path / "one.alive", stop):
        pass
