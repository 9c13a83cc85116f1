"""A semantic hit end to end: the real gateway with the semantic layer, another without it, one client."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.rig import wire
from benchmarks.rig.machine import pick_cores, pin
from benchmarks.rig.process import Target, child_of, on_cores
from benchmarks.rig.targets import start_governor, start_upstream
from db.call_reads import read_call
from db.engine import connect, reading

SEMANTIC_HIT, EXACT_HIT, MISS = "SEMANTIC HIT", "HIT", "MISS"
SETTINGS = {"semantic_enabled": True, "threshold_mode": "manual", "manual_threshold": 0.5, "verify_share": 1e-6}
"""A low threshold, so that every paraphrase is a hit: what is right to serve is measured elsewhere."""

_PATIENCE_S = 120.0
_WRITTEN_S = 1.0
"""Entries are searched about so long after their answer went out."""
_TURN = 25
_ASKS = (
    ("How do I change the {} of account {}?", "how can I change the {} of account {}"),
    ("Where can I see the {} of account {}?", "where can i see the {} of account {}, please"),
    ("Can you cancel the {} I asked for in order {}?", "could you please cancel the {} I asked for in order {}?"),
    ("What happens to the {} of customer {}?", "what happens to the {} of customer {}"),
)
_THINGS = ("password", "invoice", "subscription", "delivery address", "refund", "two-factor sign-in", "team plan")


@dataclass(slots=True, frozen=True)
class Reply:
    """What came back."""

    spent_ms: float
    kind: str
    call_id: str


@dataclass(slots=True)
class Replies:
    """All of one run."""

    semantic: list[Reply] = field(default_factory=list)
    exact: list[Reply] = field(default_factory=list)
    miss: list[Reply] = field(default_factory=list)
    without: list[Reply] = field(default_factory=list)
    """Misses of the gateway that has no semantic layer."""
    embed_ms: list[float] = field(default_factory=list)
    """Of the semantic hits, as the ledger has it; so is the next."""
    overhead_ms: list[float] = field(default_factory=list)


class Client:
    """One kept connection; a call at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._link = socket.create_connection((wire.HOST, port), timeout=60)
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, question: str) -> Reply:
        """The reply to a question; raises ``RuntimeError`` when it is no answer."""
        messages = [{"role": "user", "content": question}]
        request = wire.request(self._port, wire.body(messages=messages))
        began = time.perf_counter()
        self._link.sendall(request)
        head = self._read()
        spent_ms = (time.perf_counter() - began) * 1000.0
        if wire.status(head) != 200:
            raise RuntimeError(f"the gateway answered {wire.status(head)}")
        lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        headers = {name.lower(): value.strip().decode() for name, _, value in lines}
        return Reply(spent_ms, headers[b"x-governor-cache"], headers[b"x-governor-call-id"])

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def _read(self) -> bytes:
        """The head of a response, its whole body having come too."""
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._receive()
        head, _, rest = got.partition(b"\r\n\r\n")
        left = wire.body_length(head + b"\r\n") - len(rest)
        while left > 0:
            left -= len(self._receive())
        return head

    def _receive(self) -> bytes:
        got = self._link.recv(65536)
        if not got:
            raise RuntimeError("the gateway closed the connection")
        return got


def measure(folder: Path, rounds: int, questions: int) -> Replies:
    """So many questions in each round: asked, asked again, and asked in other words."""
    replies = Replies()
    with _running(folder) as (semantic, without):
        clients = Client(semantic.port), Client(without.port)
        _await_layer(clients[0])
        pairs = [_make_pair(number) for number in range(rounds * questions)]
        for start in range(0, len(pairs), questions):
            _measure_round(clients, pairs[start : start + questions], replies)
        for client in clients:
            client.close()
        _read_ledger(folder / "semantic" / "data" / "governor.db", replies)
    return replies


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[tuple[Target, Target]]:
    """Both gateways on one core; upstream, drainers and this process, the client, on another."""
    gateway_cores, load_cores = pick_cores()
    with contextlib.ExitStack() as stack:
        with on_cores(load_cores):
            upstream = start_upstream(folder)
            stack.callback(upstream.stop)
        started = []
        for name, sections in (("semantic", {"cache": SETTINGS}), ("without", {})):
            (folder / name).mkdir()
            with on_cores(gateway_cores):
                gateway = start_governor(folder / name, upstream.port, upstream.port, **sections)
            stack.callback(gateway.stop)
            if gateway.leader is not None:
                pin(child_of(gateway.leader.pid, "backend.cli.child", "drainer"), load_cores)
            started.append(gateway)
        pin(os.getpid(), load_cores)
        yield started[0], started[1]


def _make_pair(number: int) -> tuple[str, str]:
    """A question no other is like, and the same in other words."""
    ask, again = _ASKS[number % len(_ASKS)]
    what = _THINGS[number % len(_THINGS)], 10_007 + 7_919 * number
    return ask.format(*what), again.format(*what)


def _await_layer(client: Client) -> None:
    """Until the semantic layer, loaded behind the first calls, serves; raises ``RuntimeError``."""
    deadline, number = time.monotonic() + _PATIENCE_S, 10**6
    while time.monotonic() < deadline:
        question, again = _make_pair(number)
        client.ask(question)
        time.sleep(_WRITTEN_S)
        if client.ask(again).kind == SEMANTIC_HIT:
            return
        number += 1
    raise RuntimeError("the semantic layer served nothing")


def _measure_round(clients: tuple[Client, Client], pairs: Sequence[tuple[str, str]], replies: Replies) -> None:
    semantic, without = clients
    for start in range(0, len(pairs), _TURN):
        turn = pairs[start : start + _TURN]
        replies.miss += [semantic.ask(question) for question, _ in turn]
        replies.without += [without.ask(question) for question, _ in turn]
    time.sleep(_WRITTEN_S)
    for start in range(0, len(pairs), _TURN):
        turn = pairs[start : start + _TURN]
        replies.exact += [semantic.ask(question) for question, _ in turn]
        replies.semantic += [semantic.ask(again) for _, again in turn]


def _read_ledger(path: Path, replies: Replies) -> None:
    """What the ledger says of the semantic hits, once the drainer has written the last."""
    engine, deadline = connect(f"sqlite:///{path}"), time.monotonic() + _PATIENCE_S
    ids = [reply.call_id for reply in replies.semantic if reply.kind == SEMANTIC_HIT]
    found: list[Any] = []
    while len(found) < len(ids) and time.monotonic() < deadline:
        time.sleep(0.2)
        with reading(engine) as connection:
            found = [row for row in (read_call(connection, call_id) for call_id in ids) if row and row["embed_ms"]]
    engine.dispose()
    replies.embed_ms = [row["embed_ms"] for row in found]
    replies.overhead_ms = [row["overhead_ms"] for row in found if row["overhead_ms"] is not None]
