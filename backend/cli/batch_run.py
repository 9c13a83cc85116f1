"""A file on its way through a batch: found again by its content, begun if it is new, watched to its end."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from backend.cli.gateway_calls import GatewayAway, GatewayCaller
from backend.cli.output import CommandFailed, say

FILE_HASH = "governor_file_sha256"
"""The entry of a batch's metadata by which the same file is known again."""

FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
_POLL_S = 0.5
_AWAY_S = 60.0
_MOST_PAGES = 20
_MAX_COST = "governor_max_cost_usd"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run."""

    name: str
    content: bytes
    endpoint: str
    max_cost: str | None

    @property
    def file_hash(self) -> str:
        """The same for the same file."""
        return hashlib.sha256(self.content).hexdigest()


def read_order(path: Path, max_cost: str | None) -> Order:
    """The file with the endpoint its first line names. Raises ``CommandFailed`` when that is no request."""
    content = path.read_bytes()
    first = next((line for line in content.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()), b"")
    try:
        endpoint = orjson.loads(first)["url"]
    except (ValueError, KeyError, TypeError):
        raise CommandFailed(f"The first line of {path} is no request with a url.") from None
    return Order(path.name, content, str(endpoint), max_cost)


def find_or_create(caller: GatewayCaller, order: Order, *, again: bool) -> dict[str, Any]:
    """The job of this file that is not finished, or is completed unless it is wanted ``again``; else a new one."""
    for job in _list(caller):
        metadata = job["metadata"] or {}
        if metadata.get(FILE_HASH) != order.file_hash or job["endpoint"] != order.endpoint:
            continue
        if job["status"] not in FINAL:
            say(f"Going on with {job['id']}, which was begun with this file.")
            return job
        if job["status"] == "completed" and not again:
            say(f"{job['id']} has run this file already; --again runs it anew.")
            return job
    metadata = {FILE_HASH: order.file_hash} | ({_MAX_COST: order.max_cost} if order.max_cost is not None else {})
    uploaded = caller.upload(order.name, order.content)
    asked = {"input_file_id": uploaded["id"], "endpoint": order.endpoint, "completion_window": "24h"}
    return caller.ask("POST", "/v1/batches", asked | {"metadata": metadata})


def watch(caller: GatewayCaller, job: dict[str, Any]) -> dict[str, Any]:
    """The job at its end; a gateway that is away for a moment is waited for."""
    try:
        with _shown(job["id"]) as tell:
            while job["status"] not in FINAL:
                tell(job)
                time.sleep(_POLL_S)
                job = _retrieve(caller, job["id"])
            tell(job)
    except KeyboardInterrupt:
        say(f"The gateway goes on with {job['id']}; the same command watches it again.")
        raise
    return job


def _list(caller: GatewayCaller) -> Iterator[dict[str, Any]]:
    after = ""
    for _ in range(_MOST_PAGES):
        page = caller.ask("GET", f"/v1/batches?limit=100{after}")
        yield from page["data"]
        if not page["has_more"]:
            return
        after = f"&after={page['last_id']}"


def _retrieve(caller: GatewayCaller, job_id: str) -> dict[str, Any]:
    until = time.monotonic() + _AWAY_S
    while True:
        try:
            return caller.ask("GET", f"/v1/batches/{job_id}")
        except GatewayAway:
            if time.monotonic() > until:
                raise
            time.sleep(_POLL_S)


@contextmanager
def _shown(job_id: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A bar on a terminal; a line at the start elsewhere."""
    if not sys.stderr.isatty():
        say(f"{job_id} runs …")
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(job_id, total=None)

        def tell(job: Mapping[str, Any]) -> None:
            counts = job["request_counts"]
            done = counts["completed"] + counts["failed"]
            bars.update(task, total=counts["total"] or None, completed=done, description=f"{job_id} {job['status']}")

        yield tell
