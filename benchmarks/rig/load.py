"""Load: calls as fast as they are answered, one at a time with a clock, or many streams; prints JSON.

Run as ``python -m benchmarks.rig.load JOB`` on a core of its own, where JOB is a JSON object with the fields of
``Job``. ``wrk`` is used for throughput where it is installed, an asyncio client without any library otherwise.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks.rig import wire

_LUA = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer sk-bench"
local number = 0
request = function()
  number = number + 1
  return wrk.format("POST", "/v1/chat/completions", nil, '%s' .. (%s) .. '%s')
end
"""


@dataclass(slots=True, frozen=True)
class Job:
    """What to send where. ``repeat``: every request alike; ``calls`` or ``seconds`` end it, whichever comes first."""

    kind: str
    port: int
    connections: int = 1
    seconds: float = 5.0
    calls: int = 1_000_000_000
    repeat: bool = False
    model: str = wire.MODEL
    prefix: str = ""
    gap_ms: int = 20
    chunks: int = 50

    def encode(self) -> str:
        """As one argument of a command line."""
        return orjson.dumps(asdict(self)).decode()


def has_wrk() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def run_wrk(job: Job) -> dict[str, Any]:
    """Throughput by wrk, one thread."""
    first, last = wire.body(job.model, job.prefix + "#").decode().split("#")
    number = '"same"' if job.repeat else f'"{job.prefix}" .. number .. "-" .. math.random(1000000)'
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(_LUA % (first, number, last))
        url = f"http://{wire.HOST}:{job.port}"
        command = ["wrk", "-t1", f"-c{job.connections}", f"-d{max(1, round(job.seconds))}s", "-s", str(script), url]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = text.split()
    calls = int(words[words.index("requests") - 1])
    bad = int(words[words.index("responses:") + 1]) if "responses:" in words else 0
    return {"calls": calls, "seconds": job.seconds, "bad": bad, "calls_per_s": calls / round(job.seconds)}


async def run_asyncio(job: Job) -> dict[str, Any]:
    """Throughput by raw sockets in asyncio."""
    ends_at, make = time.perf_counter() + job.seconds, wire.maker(job.port, repeat=job.repeat, prefix=job.prefix)
    tally = {"calls": 0, "bad": 0}

    async def caller() -> None:
        reader, writer = await asyncio.open_connection(wire.HOST, job.port)
        while time.perf_counter() < ends_at and tally["calls"] < job.calls:
            writer.write(make())
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(wire.body_length(head))
            tally["calls"] += 1
            tally["bad"] += wire.status(head) != 200
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(job.connections)))
    took = time.perf_counter() - start
    return {**tally, "seconds": took, "calls_per_s": tally["calls"] / took}


def run_clock(job: Job) -> dict[str, Any]:
    """Latency of calls one after the other on one connection, in milliseconds."""
    make, times, bad = wire.maker(job.port, repeat=job.repeat, model=job.model, prefix=job.prefix), list[float](), 0
    ends_at = time.perf_counter() + job.seconds
    with socket.create_connection((wire.HOST, job.port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.perf_counter() < ends_at and len(times) < job.calls:
            message = make()
            start = time.perf_counter()
            link.sendall(message)
            bad += _read_answer(link) != 200
            times.append((time.perf_counter() - start) * 1000.0)
    return {"calls": len(times), "bad": bad, "times_ms": times}


def _read_answer(link: socket.socket) -> int:
    data = link.recv(65536)
    while b"\r\n\r\n" not in data:
        data += link.recv(65536)
    head, _, rest = data.partition(b"\r\n\r\n")
    missing = wire.body_length(head + b"\r\n") - len(rest)
    while missing > 0:
        missing -= len(link.recv(65536))
    return wire.status(head)


def run(job: Job) -> dict[str, Any]:
    """Do the job here and now."""
    if job.kind == "clock":
        return run_clock(job)
    if job.kind == "streams":
        from benchmarks.rig.streams import run_streams  # noqa: PLC0415 - it imports Job from here

        return _run_loop(run_streams(job))
    return run_wrk(job) if has_wrk() else _run_loop(run_asyncio(job))


def _run_loop(work: Any) -> dict[str, Any]:
    try:
        import uvloop  # noqa: PLC0415 - absent on some platforms
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


if __name__ == "__main__":
    sys.stdout.write(orjson.dumps(run(Job(**orjson.loads(sys.argv[1])))).decode())
