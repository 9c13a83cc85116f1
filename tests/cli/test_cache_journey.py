"""The cache commands against a gateway that runs: found, counted, purged, on record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from backend import actions
from db.engine import connect
from tests.cli.conftest import Governor
from tests.cli.governor_process import GovernorProcess

MODEL = "gpt-4o-mini"
HELLO = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "temperature": 0}


@pytest.mark.parametrize("with_keys", [False, True])
async def test_with_a_real_gateway_of_two_workers_an_entry_is_found_counted_and_purged(
    ready: Governor, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_keys: bool
) -> None:
    headers, tenant = {}, "local"
    if with_keys:
        (made,) = ready("keys", "create", "web", "--tenant", "acme", "--json").lines
        headers, tenant = {"authorization": f"Bearer {made['credential']}"}, "acme"
    look = ("lookup", "hello", "--model", MODEL, "--tenant", tenant, "--parameter", "temperature=0", "--json")
    with GovernorProcess(tmp_path, "gateway", GOVERNOR_WORKERS="2") as process:
        await asyncio.to_thread(process.wait_for, "Governor is running")
        monkeypatch.setenv("GOVERNOR_GATEWAY_PORT", str(process.port))
        first = await call(process.port, headers)
        await until(lambda: ready("cache", "status", "--json").lines[0]["exact"]["entries"] == 1)
        (found,) = ready("cache", *look).lines
        assert found["exact"]["call_id"] == first
        await call(process.port, headers)
        await until(lambda: [each["hits"] for each in ready("cache", "top", "--json").lines] == [1])
        purged = ready("cache", "purge", "--tenant", tenant, "--reason", "forget", "--json")
        assert purged.lines == [{"exact": 1, "semantic": 0, "dry_run": False}]
        for _ in range(6):  # whichever worker answers
            assert ready("cache", *look).lines[0]["exact"] is None
        assert await call(process.port, headers) != first
        process.stop()
    engine = connect(f"sqlite:///{data_dir / 'governor.db'}")
    (act,) = [act for act in actions.list_changes(engine) if act.action == "cache.purge"]
    assert act.actor.endswith("(console)")
    engine.dispose()


async def call(port: int, headers: dict[str, str]) -> str:
    """The id of the call whose answer it was."""
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        async with session.post(url, json=HELLO, headers=headers) as answer:
            await answer.read()
            assert answer.status == 200
            return answer.headers["x-governor-call-id"]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens behind an answer."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another process sets no event of this loop
            await asyncio.sleep(0.05)
