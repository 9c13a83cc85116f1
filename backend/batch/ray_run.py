"""A file of requests over the machines of a Ray cluster: Ray Data maps its lines over actors that call the gateway.

Runs by itself in an environment that has Ray and nothing of Governor (``make ray``), hence only the standard library
beside it. Every line is a call of the key through the gateway. Results are written as they come, so that a run that was
cut off goes on with the lines that have none; they are put in order at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

BUSY = (429, 503)
"""What a line is answered when it may come again."""

_TRIES = 5
_PAUSE_S = 0.5
_PATIENCE_S = 900.0
_NUSD = 1_000_000_000

Row = dict[str, Any]


class Caller:
    """An actor: takes a line's text, asks the gateway, gives the line of the results as text and what it cost."""

    def __init__(self, address: str, key: str, label: str) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._headers["x-governor-tag-batch"] = label

    def __call__(self, row: Row) -> Row:
        """One line; an answer that there is no room is asked for again after a pause."""
        line = json.loads(row["line"])
        pause_s, response, cost_nusd = _PAUSE_S, None, 0
        for _ in range(_TRIES):
            response, cost = self._ask(line)
            cost_nusd += cost
            if response["status_code"] not in BUSY:
                break
            time.sleep(pause_s)
            pause_s *= 2
        result = {"custom_id": line["custom_id"], "response": response, "error": None}
        return {"number": row["number"], "result": json.dumps(result), "cost_nusd": cost_nusd}

    def _ask(self, line: Row) -> tuple[Row, int]:
        body = json.dumps(line["body"]).encode()
        request = urllib.request.Request(self._address + line["url"], body, self._headers)  # noqa: S310 - http, as given
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310 - as above
                status, headers, raw = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, headers, raw = error.code, error.headers, error.read()
        except OSError as error:
            text = {"error": {"message": f"No gateway answers ({type(error).__name__}).", "code": "unreachable"}}
            return {"status_code": 503, "request_id": None, "body": text}, 0
        spent = headers.get("x-governor-cost-nusd") or ""
        shown = {"status_code": status, "request_id": headers.get("x-governor-call-id"), "body": json.loads(raw)}
        return shown, int(spent) if spent.isdigit() else 0


def read_rows(path: Path, done: set[str]) -> list[Row]:
    """Lines of a file that have no result yet. Raises ``ValueError`` for one that is no request."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        asked = json.loads(line)
        if not isinstance(asked, dict) or not {"custom_id", "url", "body"} <= asked.keys():
            raise ValueError(f"line {number} is no request: it needs custom_id, url and body")
        if asked["custom_id"] not in done:
            rows.append({"number": number, "line": line})
    return rows


def read_done(part: Path) -> list[Row]:
    """Results of a run that was cut off; a line that was only half written does not count."""
    done = []
    for line in part.read_text().splitlines() if part.exists() else ():
        try:
            done.append(json.loads(line))
        except ValueError:
            continue
    return done


def map_rows(rows: list[Row], options: argparse.Namespace) -> Generator[Row]:
    """Every row through one of the actors, in whatever order they end."""
    import ray  # noqa: PLC0415 - only where it is installed

    local = {} if options.cluster else {"include_dashboard": False}
    ray.init(address=options.cluster, log_to_driver=False, **local)
    arguments = (options.address, os.environ.get("GOVERNOR_API_KEY", "none"), options.label)
    data = ray.data.from_items(rows, override_num_blocks=max(1, min(len(rows), options.parallel * 4)))
    actors = ray.data.ActorPoolStrategy(size=options.parallel)
    mapped = data.map(Caller, fn_constructor_args=arguments, compute=actors, num_cpus=options.cpus)
    try:
        yield from mapped.iter_rows()
    finally:
        ray.shutdown()


def run(options: argparse.Namespace) -> int:
    """Do what is left of the file; 0 when every line has its result, 1 when money ended the run before."""
    part = options.output.with_name(options.output.name + ".part")
    done = read_done(part)
    rows = read_rows(options.file, _custom_ids(done))
    if rows and _spent(done) < options.max_cost * _NUSD:
        _gather(rows, done, part, options)
    whole = not read_rows(options.file, _custom_ids(done))
    text = "".join(row["result"] + "\n" for row in sorted(done, key=lambda row: int(row["number"])))
    options.output.write_text(text)
    if whole:
        part.unlink(missing_ok=True)
    print(json.dumps({"results": len(done), "cost_nusd": _spent(done), "whole": whole}))  # noqa: T201 - its output
    return 0 if whole else 1


def _gather(rows: list[Row], done: list[Row], part: Path, options: argparse.Namespace) -> None:
    """Keep results as they come, until the money is spent."""
    spent_nusd = _spent(done)
    with part.open("a") as book, closing(map_rows(rows, options)) as mapped:
        book.write("\n")  # the last run may have ended in the middle of a line
        for row in mapped:
            book.write(json.dumps(row) + "\n")
            book.flush()
            done.append(row)
            spent_nusd += row["cost_nusd"]
            if spent_nusd >= options.max_cost * _NUSD:
                return


def _spent(done: list[Row]) -> int:
    return sum(row["cost_nusd"] for row in done)


def _custom_ids(done: list[Row]) -> set[str]:
    return {json.loads(row["result"])["custom_id"] for row in done}


def read_options(arguments: list[str]) -> argparse.Namespace:
    """The command line; the key comes in the environment, where no list of processes shows it."""
    parser = argparse.ArgumentParser(description="Run a file of requests over a Ray cluster.")
    parser.add_argument("file", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--address", required=True, help="URL of the gateway, without /v1")
    parser.add_argument("--cluster", default=None, help="address of a Ray cluster; a local one when left out")
    parser.add_argument("--parallel", type=int, default=8, help="actors, each with one call at a time")
    parser.add_argument("--cpus", type=float, default=0.1, help="share of a core that an actor takes")
    parser.add_argument("--max-cost", type=float, default=float("inf"), help="dollars after which the run ends")
    parser.add_argument("--label", default="ray", help="the calls' tag batch")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run(read_options(sys.argv[1:])))
