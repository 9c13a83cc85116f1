from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Timer
from typing import Self

import pytest

from backend import actions
from backend.actions import Change, KeyDraft, Signature
from backend.errors import InvalidSettings
from db.engine import Engine

WORKERS = 3
SECRET = b"installation secret"
ANA = Signature("ana", "a try")

WORKER = """
import asyncio, sys
from backend.auth.ring import LiveKeys
from backend.errors import Unauthenticated
from backend.settings.live import LiveSettings
from db.engine import connect

engine = connect(sys.argv[1])
live, keys = LiveSettings(engine), LiveKeys(engine, b"installation secret")

def tell(*words):
    print(*words, flush=True)

def tell_settings():
    document = live.current.settings
    tell("settings", live.current.version, document.cache.ttl_s, document.gateway.max_depth)

def tell_key():
    keys.reload()
    try:
        keys.identify({b"x-api-key": sys.argv[2].encode()})
        tell("key valid")
    except Unauthenticated:
        tell("key refused")

live.on_change("settings", tell_settings)
live.on_change("keys", tell_key)
tell("ready")
asyncio.run(live.watch())
"""


class Worker:
    """A process that follows the database and tells what it sees."""

    def __init__(self, engine: Engine, credential: str) -> None:
        url = engine.url.render_as_string(hide_password=False)
        command = [sys.executable, "-c", WORKER, url, credential]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.deadline = Timer(120, self.child.kill)  # a worker that says nothing fails the test instead of hanging it
        self.deadline.start()

    def lines(self) -> Iterator[str]:
        assert self.child.stdout is not None
        return map(str.strip, self.child.stdout)

    def read_until(self, last: str) -> list[str]:
        seen = list[str]()
        for line in self.lines():
            seen.append(line)
            if line == last:
                return seen
        raise AssertionError(f"the worker ended before it said {last!r}: {seen}")

    def __enter__(self) -> Self:
        self.read_until("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.deadline.cancel()
        self.child.kill()
        self.child.communicate()


def edit(engine: Engine, number: int) -> None:
    """One valid document, or an invalid one every fifth time."""
    document = {"cache": {"ttl_s": number}, "gateway": {"max_depth": number}}
    if number % 5:
        actions.apply_settings(engine, Change(document, ANA))
        return
    with pytest.raises(InvalidSettings):
        actions.apply_settings(engine, Change(document | {"ledger": {"capture_days": 0}}, ANA))


@pytest.mark.slow
def test_all_workers_follow_every_edit_and_revocation_and_none_sees_a_refused_one(engine: Engine) -> None:
    key = actions.create_key(engine, SECRET, KeyDraft("search"), ANA)
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(engine, key.credential)) for _ in range(WORKERS)]
        for number in range(10, 60):
            edit(engine, number)
        for worker in workers:
            seen = [line.split() for line in worker.read_until("settings 40 59 59")]
            versions = [int(words[1]) for words in seen]
            assert versions == sorted(set(versions))
            assert all(ttl_s == depth and int(ttl_s) % 5 for _, _, ttl_s, depth in seen)
        actions.revoke_key(engine, key.id, ANA)
        for worker in workers:
            assert worker.read_until("key refused") == ["key refused"]
