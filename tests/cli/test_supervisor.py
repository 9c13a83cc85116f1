"""Real processes: started, restarted, replaced and stopped without losing a call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil
import pytest
import yaml

from backend.cli.database import upgrade_database
from backend.cli.supervisor import KILL_AFTER_S
from backend.environment import Environment
from backend.settings import store
from backend.settings.signature import Signature
from db.engine import connect
from tests.cli.governor_process import GovernorProcess

RUNNING = "Governor is running"
SETTINGS = """
deployments:
  - {name: fast, model: fast, provider: simulated, simulation: {ttft_ms: 60, tokens_per_s: 10000}}
  - {name: slow, model: slow, provider: simulated, simulation: {ttft_ms: 400, tokens_per_s: 10}}
cache: {exact_enabled: false, coalesce: false}
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with its tables, prices and the settings above."""
    data = tmp_path_factory.mktemp("template") / "data"
    environment = Environment(data_dir=data)
    upgrade_database(environment)
    engine = connect(environment.database)
    store.apply_partial(engine, store.Change(yaml.safe_load(SETTINGS), Signature("test", "test")))
    engine.dispose()
    return data


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "data")
    return tmp_path


@pytest.fixture
def gateway(folder: Path) -> Iterator[GovernorProcess]:
    with GovernorProcess(folder, "gateway") as process:
        process.wait_for(RUNNING)
        yield process


@pytest.fixture(scope="module")
def lasting(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GovernorProcess]:
    """A gateway with two workers for the tests that leave it running."""
    folder = tmp_path_factory.mktemp("lasting")
    shutil.copytree(template, folder / "data")
    with GovernorProcess(folder, "gateway", GOVERNOR_WORKERS="2") as process:
        process.wait_for(RUNNING)
        yield process


def export(folder: Path) -> list[dict[str, Any]]:
    with GovernorProcess(folder, "calls", "export", "--json") as process:
        assert process.child.wait(60) == 0
        process.stop()
        return [orjson.loads(line) for line in process.lines]


def wait_for_open_calls(folder: Path, count: int) -> None:
    """Until so many calls are on their way upstream: their records stand in the spool."""
    while sum(path.stat().st_size for path in (folder / "data" / "spool").glob("*.spool")) < count * 1000:
        time.sleep(0.02)


def wait_for_keeper(process: GovernorProcess) -> None:
    """Until it was started, which happens when everything else is ready."""
    while not process.children("keeper"):
        time.sleep(0.02)


async def call(session: aiohttp.ClientSession, port: int, model: str, text: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 10}
    async with session.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body) as answer:
        await answer.read()
        return answer.status


def test_the_summary_says_where_everything_is(lasting: GovernorProcess) -> None:
    lasting.wait_for("Hello")
    text = "\n".join(lasting.lines)
    assert f"http://127.0.0.1:{lasting.port}/v1" in text
    assert str(lasting.folder / "data") in text
    assert "simulated" in text
    assert "OpenAI(base_url=" in text


async def test_sigterm_answers_what_is_open_records_it_and_exits_0(gateway: GovernorProcess, folder: Path) -> None:
    async with aiohttp.ClientSession() as session:
        calls = [asyncio.create_task(call(session, gateway.port, "slow", f"call {i}")) for i in range(8)]
        await asyncio.to_thread(wait_for_open_calls, folder, 8)
        ended = asyncio.create_task(asyncio.to_thread(gateway.stop))
        assert await asyncio.gather(*calls) == [200] * 8
        assert await ended == 0
    assert [(row["state"], row["status"]) for row in export(folder)] == [("settled", "ok")] * 8, gateway.lines


def test_ctrl_c_in_the_terminal_stops_everything_in_order(gateway: GovernorProcess) -> None:
    family = gateway.children()
    os.killpg(gateway.child.pid, signal.SIGINT)
    assert gateway.stop() == 0
    assert not psutil.wait_procs(family, timeout=0)[1]
    assert not [line for line in gateway.lines if "killed" in line or "Traceback" in line]


def test_a_stop_that_is_asked_for_twice_still_drains(gateway: GovernorProcess) -> None:
    gateway.child.send_signal(signal.SIGTERM)
    assert gateway.stop() == 0
    assert not [line for line in gateway.lines if "killed" in line]


def test_a_stop_drains_even_when_the_drainer_has_just_died(gateway: GovernorProcess, folder: Path) -> None:
    (drainer,) = gateway.children("drainer")
    drainer.suspend()
    asyncio.run(call_once(gateway.port))
    drainer.kill()
    assert gateway.stop() == 0
    assert [row["status"] for row in export(folder)] == ["ok"]


async def call_once(port: int) -> None:
    async with aiohttp.ClientSession() as session:
        assert await call(session, port, "fast", "once") == 200


def test_kill_9_of_the_supervisor_leaves_no_orphan(gateway: GovernorProcess) -> None:
    wait_for_keeper(gateway)
    family = gateway.children()
    assert len(family) == 3
    gateway.child.kill()
    gone, left = psutil.wait_procs(family, timeout=30)
    assert len(gone) == 3
    assert not left


def test_a_second_governor_on_the_same_folder_is_refused(lasting: GovernorProcess) -> None:
    with GovernorProcess(lasting.folder, "gateway") as second:
        assert second.child.wait(60) == 1
        assert f"pid {lasting.child.pid}" in second.wait_for("Another Governor")


def test_a_worker_that_dies_is_started_again(lasting: GovernorProcess) -> None:
    victim = lasting.children("gateway")[0]
    victim.kill()
    assert f"(pid {victim.pid}) was ended by SIGKILL; it starts again" in lasting.wait_for("starts again")


async def test_replacing_the_workers_drops_no_call(lasting: GovernorProcess) -> None:
    before = {each.pid for role in ("gateway", "drainer") for each in lasting.children(role)}
    known = len(export(lasting.folder))
    done = asyncio.Event()

    async def keep_calling(number: int) -> list[int]:
        statuses: list[int] = []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            while not done.is_set():
                statuses.append(await call(session, lasting.port, "fast", f"{number} {len(statuses)}"))
        return statuses

    clients = [asyncio.create_task(keep_calling(number)) for number in range(6)]
    lasting.child.send_signal(signal.SIGHUP)
    await asyncio.to_thread(lasting.wait_for, "every worker was replaced")
    done.set()
    statuses = [status for statuses in await asyncio.gather(*clients) for status in statuses]
    assert set(statuses) == {200}
    assert not before & {each.pid for each in lasting.children()}
    assert await asyncio.to_thread(lasting.stop) == 0
    assert len(export(lasting.folder)) == known + len(statuses)


def test_a_call_that_never_ends_is_cut_at_the_deadline(folder: Path) -> None:
    with GovernorProcess(folder, "gateway", GOVERNOR_DRAIN_DEADLINE_S="1") as process:
        process.wait_for(RUNNING)
        body = b'{"model": "slow", "stream": true, "messages": [{"role": "user", "content": "x"}]}'
        with socket.create_connection(("127.0.0.1", process.port)) as client:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            assert b"200" in client.recv(64)
            ended = threading.Event()
            threading.Timer(1 + KILL_AFTER_S + 5, ended.set).start()
            assert process.stop() == 0
            assert not ended.is_set(), "it waited much longer than its deadline"
    (row,) = export(folder)
    assert row["state"] != "open"


def test_a_port_in_use_is_named_with_its_variable(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with GovernorProcess(folder, "gateway", GOVERNOR_GATEWAY_PORT=str(port)) as process:
            assert process.child.wait(60) == 1
            line = process.wait_for(str(port))
    assert "GOVERNOR_GATEWAY_PORT" in line


def test_a_worker_that_cannot_start_stops_everything(folder: Path) -> None:
    """Bound to every address without a key, a worker refuses to start."""
    with GovernorProcess(folder, "gateway", GOVERNOR_GATEWAY_HOST="0.0.0.0") as process:
        assert process.child.wait(60) == 1
        process.wait_for("it does not start")


def test_up_runs_the_console_too(folder: Path) -> None:
    with GovernorProcess(folder, "up") as process:
        process.wait_for(RUNNING)
        assert f"http://127.0.0.1:{process.console_port}" in process.wait_for("console ")
        with contextlib.closing(socket.create_connection(("127.0.0.1", process.console_port), timeout=30)):
            pass
        wait_for_keeper(process)
        family = process.children()
        assert len(family) == 4
        assert process.stop() == 0
        assert not psutil.wait_procs(family, timeout=0)[1]
