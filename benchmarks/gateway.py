"""Gateway overhead side by side: the upstream itself, bare ASGI, Governor, LiteLLM proxy, in rounds in turn.

Governor is the real ``governor gateway`` with one worker: every stage on, each call durable in the ledger before it
goes out. Every gateway's worker runs on one core; upstream, load and Governor's drainer share another. Prints one
Markdown table; progress goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.rig import measures
from benchmarks.rig.environment import install
from benchmarks.rig.litellm_proxy import PEER
from benchmarks.rig.load import has_wrk
from benchmarks.rig.machine import describe, pick_cores, raise_file_limit, version_of
from benchmarks.rig.measures import Effort, Notebook
from benchmarks.rig.table import render
from benchmarks.rig.targets import Field, running
from benchmarks.rig.upstream import nginx_command

STEPS = ("memory", "throughput", "hits", "latency", "streams", "open_streams", "litellm_path")


def main() -> None:
    options = _read_options()
    machine, when = describe(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    effort = Effort() if not options.quick else Effort(2, 2.0, 300, 20_000, 128, 500, (32,))
    if options.rounds:
        effort.rounds = options.rounds
    raise_file_limit()
    if not options.no_litellm_proxy:
        install(PEER)
    book = Notebook()
    with contextlib.ExitStack() as stack:
        folder = options.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="governor-bench-"))
        cores = pick_cores()
        field = stack.enter_context(running(Path(folder), cores, with_proxy=not options.no_litellm_proxy))
        measures.note_starts((field.passing, field.governor, field.proxy), book)
        tools = _describe_tools(Path(folder))
        for step in options.only or STEPS:
            getattr(measures, f"measure_{step}")(field, effort, book)
    print(f"{when}. {machine}. {_describe_cores(field)} {tools} Medians of {effort.rounds} rounds.")
    print(f"`{' '.join(['python', *sys.argv])}`\n")
    print(render(book.medians(), effort.connections))


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short rounds: a first look, not a claim")
    parser.add_argument("--rounds", type=int, help="rounds of each measure")
    parser.add_argument("--only", nargs="+", choices=STEPS, help="only these measures")
    parser.add_argument("--no-litellm-proxy", action="store_true", help="leave LiteLLM proxy out; nothing is installed")
    parser.add_argument("--folder", help="existing empty folder for data and logs, kept; a temporary one otherwise")
    return parser.parse_args()


def _describe_cores(field: Field) -> str:
    if not field.gateway_cores:
        return "Processes are not pinned to cores here."
    if field.gateway_cores == field.load_cores:
        return "There is only one core: gateway, load and upstream share it."
    gateway, load = min(field.gateway_cores), min(field.load_cores)
    return f"Gateway on core {gateway}; load, upstream and drainer on core {load}."


def _describe_tools(folder: Path) -> str:
    nginx = version_of(["nginx", "-v"]).rpartition(" ")[2] if nginx_command(folder, 1) else "a Python server"
    load = version_of(["wrk", "-v"]).partition(" [")[0] if has_wrk() else "raw sockets in asyncio"
    return f"Upstream: {nginx}; load: {load}."


if __name__ == "__main__":
    main()
