"""One JSON line per call: numbers and names, no bodies, no secrets, bounded."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from backend.call import Entry
from backend.metrics import log as module
from backend.metrics.log import JsonLines, log_calls, start_logging


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Reads what was written to standard error since the last look."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    monkeypatch.setattr(module, "_FD", writing)
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    start_logging("info")

    def read() -> list[dict[str, Any]]:
        try:
            return [orjson.loads(line) for line in os.read(reading, 10**6).splitlines()]
        except BlockingIOError:
            return []

    yield read
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = before[0], before[1]
    os.close(reading)
    os.close(writing)


def entry(**fields: Any) -> Entry:
    made = Entry("w", "chat.completions")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_a_call_is_one_line_of_numbers_and_names(lines: Any) -> None:
    made = entry(model="m", cost_nusd=5, latency_ms=1.23456, payload=(b"secret prompt", b"secret answer"), user="alice")
    log_calls([made])
    (line,) = lines()
    assert (line["event"], line["call_id"], line["cost_nusd"], line["latency_ms"]) == ("call", made.id, 5, 1.235)
    assert "secret" not in str(line)
    assert "alice" not in str(line)


@pytest.mark.parametrize("model", ["a\nb", 'a"b', "\x1b[31m", "\u2028", "é"])
def test_no_name_can_forge_a_line(lines: Any, model: str) -> None:
    log_calls([entry(model=model)])
    (line,) = lines()
    assert line["model"] == model


def test_lines_of_workers_that_share_a_full_pipe_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    monkeypatch.setattr(module, "_FD", writing)
    monkeypatch.setattr(module._calls, "isEnabledFor", lambda _: True)
    calls = [entry(model="m" * 20) for _ in range(32)]
    workers = [threading.Thread(target=log_calls, args=(calls,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    read = b""
    while read.count(b"\n") < len(workers) * len(calls):
        read += os.read(reading, 500)
    for worker in workers:
        worker.join(10)
    os.close(reading)
    os.close(writing)
    assert all(orjson.loads(line)["event"] == "call" for line in read.splitlines())


def test_calls_are_not_logged_where_only_warnings_are_wanted(lines: Any) -> None:
    start_logging("warning")
    log_calls([entry()])
    assert lines() == []


def test_a_failure_costs_no_more_than_a_few_kilobytes(lines: Any) -> None:
    def fall(depth: int) -> None:
        if depth:
            fall(depth - 1)
        raise ValueError("x" * 5000)

    try:
        fall(200)
    except ValueError:
        logging.getLogger("governor.test").exception("y" * 5000)
    (line,) = lines()
    assert (line["event"], line["level"], line["logger"]) == ("log", "error", "governor.test")
    assert len(orjson.dumps(line)) < 6000


def test_a_log_that_cannot_be_written_fails_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FD", 999_999)
    logging.getLogger("governor.calls").setLevel(logging.INFO)
    log_calls([entry()])
    JsonLines().emit(logging.LogRecord("a", logging.INFO, "f", 1, "text", None, None))
    logging.getLogger("governor.calls").setLevel(logging.NOTSET)


def test_text_that_is_no_text_is_written_all_the_same(lines: Any) -> None:
    logging.getLogger("governor.test").warning("%s", "\ud800")
    assert len(lines()) == 1
