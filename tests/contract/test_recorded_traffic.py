"""Recorded prompts at recorded arrival times, compressed: the ledger's totals equal an independent count."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.contract.place import Place
from tests.faults.clients import Ask, Outcome, place_call
from tests.faults.processes import REPOSITORY
from tests.faults.reconcile import price_nusd
from tests.faults.rig import RATES

TRAFFIC = REPOSITORY.parent / "shared" / "data" / "traffic"
PROMPTS, ARRIVALS = TRAFFIC / "aibrix_8min_prompts.jsonl.gz", TRAFFIC / "azure_conv_2023.csv.gz"
LASTS_S = 8.0
FEATURE = "recorded"

pytestmark = pytest.mark.skipif(
    not (PROMPTS.exists() and ARRIVALS.exists()), reason=f"no recorded traffic in {TRAFFIC}"
)


def read_prompts(path: Path) -> Iterator[tuple[str, int]]:
    """Prompts with the length of their answers."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            for request in json.loads(line)["requests"]:
                yield request["prompt"], max(1, int(request["Output Length"]))


def read_arrivals(path: Path, count: int, lasts_s: float) -> list[float]:
    """Seconds after the first of so many arrivals, compressed to ``lasts_s``."""
    with gzip.open(path, "rt") as lines:
        rows = [row["TIMESTAMP"][:26] for row, _ in zip(csv.DictReader(lines), range(count), strict=False)]
    moments = [datetime.fromisoformat(row).timestamp() for row in rows]
    scale = lasts_s / (moments[-1] - moments[0])
    return [(moment - moments[0]) * scale for moment in moments]


def asks() -> Iterator[Ask]:
    """Every recorded prompt as a call: whole, streamed, and streamed with usage in turns."""
    for number, (prompt, words) in enumerate(read_prompts(PROMPTS)):
        yield Ask(
            f"fake/ok:{words}@{FEATURE}",
            stream=number % 3 > 0,
            include_usage=number % 3 > 1,
            extra={"messages": [{"role": "user", "content": prompt}]},
            headers={"x-governor-feature": FEATURE},
        )


async def replay(port: int, planned: list[tuple[float, Ask]]) -> list[Outcome]:
    """Place every call when it is due, whether earlier ones have ended or not."""
    began = time.monotonic()

    async def place_at(due_s: float, ask: Ask) -> Outcome:
        await asyncio.sleep(max(0.0, began + due_s - time.monotonic()))
        return await place_call(port, ask)

    return await asyncio.gather(*(place_at(*each) for each in planned))


def count(accepted: list[dict[str, Any]]) -> dict[str, int]:
    """What the upstream's own journal adds up to."""
    prompt, completion = (
        sum(each["billed"][name] for each in accepted) for name in ("prompt_tokens", "completion_tokens")
    )
    cost = sum(price_nusd(each["billed"], RATES) for each in accepted)
    return {"calls": len(accepted), "prompt_tokens": prompt, "completion_tokens": completion, "cost_nusd": cost}


async def test_the_ledger_adds_up_to_what_the_upstream_counted(place: Place) -> None:
    wanted = list(asks())
    assert len(wanted) > 2000
    outcomes = await replay(place.port, list(zip(read_arrivals(ARRIVALS, len(wanted), LASTS_S), wanted, strict=True)))
    assert Counter(outcome.end for outcome in outcomes) == {"ok": len(wanted)}

    rows = await asyncio.to_thread(place.rows, *[FEATURE] * len(wanted), column="feature")
    assert len(rows) == len({row["id"] for row in rows}) == len(wanted)
    assert {row["id"] for row in rows} == {outcome.call_id for outcome in outcomes}
    paid = [row for row in rows if row["cache_kind"] == "miss"]
    repeated = [row for row in rows if row["cache_kind"] in ("exact", "coalesced")]
    assert len(paid) + len(repeated) == len(rows)

    independent = count([each for each in place.rig.acceptances() if each["model"].endswith(f"@{FEATURE}")])
    booked = {name: sum(row[name] for row in paid) for name in ("prompt_tokens", "completion_tokens", "cost_nusd")}
    assert {"calls": len(paid), **booked} == independent
    assert sum(row["cost_nusd"] for row in repeated) == 0
    costs = {row["id"]: row["cost_nusd"] for row in paid}
    assert all(row["saved_cache_nusd"] == costs[row["source_call_id"]] for row in repeated)
    assert {(row["state"], row["status"], row["usage_source"]) for row in rows} == {("settled", "ok", "provider")}

    told = await asyncio.to_thread(totals, place)
    assert (told["calls"], told["cost_nusd"], told["unpriced"]) == (len(rows), independent["cost_nusd"], 0)


def totals(place: Place) -> dict[str, Any]:
    """What the product's own command adds up to."""
    output = place.rig.gateway.run_command("calls", "totals", "--where", f"feature={FEATURE}", "--json")
    found: dict[str, Any] = json.loads(output)
    return found


async def test_what_each_caller_read_is_what_its_row_says(place: Place) -> None:
    wanted = list(asks())[:60]
    for ask in wanted:
        ask.extra["messages"].append({"role": "user", "content": ask.marker})
    outcomes = await replay(place.port, [(0.0, ask) for ask in wanted])
    rows = await asyncio.to_thread(place.rows, *(ask.marker for ask in wanted), column="session_id")
    by_session = {row["session_id"]: row for row in rows}
    for outcome in outcomes:
        assert by_session[outcome.marker]["completion_tokens"] == outcome.words or not outcome.stream
        assert by_session[outcome.marker]["id"] == outcome.call_id
