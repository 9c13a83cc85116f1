"""``litellm.acompletion`` itself, one call after the other; what the LiteLLM path of Governor is compared with.

Run as ``python -m benchmarks.rig.litellm_call PORT``; each number on standard input makes so many calls and prints
their times in milliseconds as JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import orjson

from backend.upstream.litellm_client import load_library
from benchmarks.rig import wire

PROVIDER = "hosted_vllm"
"""A provider that LiteLLM reaches over HTTP with its usual machinery."""


async def measure(library: Any, port: int, calls: int) -> list[float]:
    """Milliseconds of each call."""
    times = []
    for number in range(calls):
        fields = orjson.loads(wire.body(number=number))
        fields |= {"model": f"{PROVIDER}/{wire.MODEL}", "api_base": f"http://{wire.HOST}:{port}/v1", "api_key": "none"}
        began = time.perf_counter()
        await library.acompletion(**fields, num_retries=0, max_retries=0, timeout=600, caching=False)
        times.append((time.perf_counter() - began) * 1000.0)
    return times


async def serve(port: int) -> None:
    """One measurement for each number read."""
    library = load_library()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        times = await measure(library, port, int(line))
        sys.stdout.write(orjson.dumps(times).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(serve(int(sys.argv[1])))
    except ImportError:
        asyncio.run(serve(int(sys.argv[1])))
