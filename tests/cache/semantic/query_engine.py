"""A server that speaks what the query-engine mode uses of Redis 8's protocol, and writes down what it is told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np

Command = list[bytes]
QUERY = re.compile(rb"\(@partition:\{([0-9a-f]{32})\}\)=>\[KNN (\d+) @vector \$v AS score\]")


class Refused(Exception):
    """An error reply."""


class QueryEngineServer:
    """Hashes, search indexes and transactions; answers as Redis 8 gives them in RESP2."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.hashes: dict[bytes, dict[bytes, bytes]] = {}
        self.indexes: list[bytes] = []
        self.refusals: dict[bytes, str] = {}
        self.answers: dict[bytes, Any] = {}
        self.expired: set[bytes] = set()

    def told(self, name: bytes) -> list[Command]:
        """The commands of one name so far."""
        return [command for command in self.commands if command[0] == name]

    def flush(self) -> None:
        """As FLUSHALL: indexes go with the keys."""
        self.hashes.clear()
        self.indexes.clear()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Serve on a loopback port; the URL."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queued: list[Command] | None = None
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                command = await _read(reader)
                if command[0] == b"MULTI":
                    queued, answer = [], b"+OK\r\n"
                elif command[0] == b"EXEC":
                    answer = b"*%d\r\n" % len(queued or []) + b"".join(map(self._answer, queued or []))
                    queued = None
                elif queued is not None:
                    queued.append(command)
                    answer = b"+QUEUED\r\n"
                else:
                    answer = self._answer(command)
                writer.write(answer)
        writer.close()

    def _answer(self, command: Command) -> bytes:
        self.commands.append(command)
        try:
            if command[0] in self.refusals:
                raise Refused(self.refusals[command[0]])
            if command[0] in self.answers:
                return _write(self.answers[command[0]])
            return _write(self._obey(command))
        except Refused as refusal:
            return f"-{refusal}\r\n".encode()

    def _obey(self, command: Command) -> Any:
        match command:
            case [b"FT._LIST"]:
                return self.indexes
            case [b"FT.CREATE", name, *_]:
                return self._create(name)
            case [b"FT.SEARCH", *rest]:
                return self._search(rest)
            case [b"HSET", key, *pairs]:
                self.hashes[key] = dict(zip(pairs[::2], pairs[1::2], strict=True))
                return len(pairs) // 2
            case [b"DEL", *keys]:
                return sum(self.hashes.pop(key, None) is not None for key in keys)
        return "OK"

    def _create(self, name: bytes) -> str:
        if name in self.indexes:
            raise Refused("Index already exists")
        self.indexes.append(name)
        return "OK"

    def _search(self, rest: Command) -> list[Any]:
        """What the query engine does: filter by tag, then the nearest by cosine distance."""
        name, query, _, _, _, asked, *_ = rest
        if name not in self.indexes:
            raise Refused(f"No such index {name.decode()}")
        found = QUERY.fullmatch(query)
        if found is None:
            raise Refused("Syntax error at offset 1")
        vector = np.frombuffer(asked, "<f4")
        scope = [(key, h) for key, h in self.hashes.items() if h[b"partition"] == found[1]]
        near = sorted(scope, key=lambda pair: -float(np.frombuffer(pair[1][b"vector"], "<f4") @ vector))[
            : int(found[2])
        ]
        answer: list[Any] = [len(near)]
        for key, fields in near:
            answer += [key, None if key in self.expired else [b"entry", fields[b"entry"]]]
        return answer


async def _read(reader: asyncio.StreamReader) -> Command:
    """One command: an array of bulk strings."""
    count = int((await reader.readuntil(b"\r\n"))[1:])
    command = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        command.append((await reader.readexactly(size + 2))[:size])
    return command


def _write(answer: Any) -> bytes:
    """An answer in RESP2."""
    match answer:
        case None:
            return b"*-1\r\n"
        case int():
            return b":%d\r\n" % answer
        case str():
            return f"+{answer}\r\n".encode()
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(answer), answer)
    return b"*%d\r\n" % len(answer) + b"".join(map(_write, answer))
