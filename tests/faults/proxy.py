"""a TCP proxy that breaks connections: latency, black hole, resets, half-close, truncation, trickle."""

import asyncio
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

LINGER_ZERO = struct.pack("ii", 1, 0)
Fault = Literal["none", "refuse", "blackhole", "reset", "half_close"]


@dataclass
class Weather:
    """What the network does now; may be changed while connections are open.

    `truncate_bytes` cuts each answer after so many bytes, `bytes_per_s` slows it, `latency_s` delays both ways.
    """

    fault: Fault = "none"
    latency_s: float = 0.0
    truncate_bytes: int | None = None
    bytes_per_s: float | None = None


class FaultProxy:
    """Forwards loopback connections to a port, through the weather; an async context manager."""

    def __init__(self, target_port: int, weather: Weather | None = None, port: int = 0) -> None:
        self.weather = weather or Weather()
        self.port = port
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_all(self) -> None:
        """Reset every open connection."""
        for writer in list(self._writers):
            _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            _reset(writer)
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.weather.fault in ("refuse", "reset"):
            _reset(writer)
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers.add(far_writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer, limited=False))
                group.create_task(self._pump(far_reader, writer, limited=True))
        except* OSError:
            _reset(writer)
        finally:
            self._writers.discard(far_writer)
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limited: bool) -> None:
        left = self.weather.truncate_bytes if limited else None
        while data := await reader.read(65_536):
            await self._weather_out(writer)
            if limited and self.weather.fault == "half_close":
                break
            piece = data if left is None else data[:left]
            await self._write(writer, piece, limited)
            left = None if left is None else left - len(piece)
            if left == 0:
                writer.close()
                return
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    async def _weather_out(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.weather.latency_s)
        if self.weather.fault == "blackhole":
            await asyncio.Event().wait()
        if self.weather.fault == "reset":
            _reset(writer)
            raise ConnectionResetError

    async def _write(self, writer: asyncio.StreamWriter, piece: bytes, limited: bool) -> None:
        rate = self.weather.bytes_per_s if limited else None
        step = len(piece) if rate is None else 1
        for start in range(0, len(piece), max(step, 1)):
            writer.write(piece[start : start + step])
            await writer.drain()
            if rate is not None:
                await asyncio.sleep(1 / rate)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    writer.transport.abort()
