"""python -m tests.faults.upstream --port N --journal FILE: the scripted upstream as a process."""

import argparse
import asyncio
import signal
from pathlib import Path

import uvloop

from tests.faults.upstream.journal import UpstreamJournal
from tests.faults.upstream.server import Upstream


async def serve(port: int, journal: UpstreamJournal) -> None:
    """Serve on loopback until SIGTERM or SIGINT, then close the open requests in the journal."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Upstream(journal, port):
        await stop.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.upstream")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--fsync", action="store_true", help="fsync after every journal line")
    options = parser.parse_args()
    with UpstreamJournal(options.journal, fsync=options.fsync) as journal:
        uvloop.run(serve(options.port, journal))


if __name__ == "__main__":
    main()
