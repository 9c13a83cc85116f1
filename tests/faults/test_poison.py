"""Poison: values that databases choke on, from callers and from upstreams; every call is accounted for all the same."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults.clients import Ask
from tests.faults.postgres import PostgresProcess
from tests.faults.rig import Rig

pytestmark = pytest.mark.faults

VALUES: dict[str, Any] = {
    "nul": "a\x00b",
    "half a surrogate pair": "a\ud800b",
    "beyond any float": 1e999,
    "beyond any integer": 10**400,
    "five megabytes": "z" * 5_000_000,
    "nested": {"a": [{"b": "\x00"}]},
    "text direction": "\u202egnp.exe",
}
PLACES: list[str] = ["user", "metadata", "tag", "model", "temperature", "unknown field"]


def poisoned(place: str, value: Any) -> Ask:
    if place == "model":
        return Ask(f"fake/ok@{value}" if isinstance(value, str) else "fake/ok", extra={"seed": value})
    fields = {"metadata": {"feature": value, "session": value}, "tag": {"tags": [value], "x" * 300: value}}
    extra = {"metadata": fields[place]} if place in fields else {place.replace(" ", "_"): value}
    return Ask("fake/ok", extra=extra, stream=place == "user")


def asks() -> list[Ask]:
    said = [poisoned(place, value) for place in PLACES for value in VALUES.values()]
    answered = [
        Ask(f"fake/poison:{kind}", stream=stream)
        for kind in ("nul", "surrogate", "number", "huge")
        for stream in (True, False)
    ]
    return [ask for pair in zip(said, [Ask("fake/ok") for _ in said], strict=True) for ask in pair] + answered


async def run(rig: Rig) -> None:
    rig.start({"ledger": {"capture": True}})
    placed = asks()
    outcomes = await rig.place_all(placed, at_once=4)
    harmless = {ask.marker for ask in placed if ask.model == "fake/ok" and not ask.extra}
    assert {outcome.end for outcome in outcomes} <= {"ok", "error"}
    assert {outcome.end for outcome in outcomes if outcome.marker in harmless} == {"ok"}
    assert not [outcome for outcome in outcomes if outcome.http_status == 500]
    books = rig.close()
    assert {outcome.call_id for outcome in outcomes} <= {call["id"] for call in books.calls}


async def test_poison_is_accounted_for_in_sqlite(rig: Rig) -> None:
    await run(rig)


@pytest.mark.postgres
async def test_poison_is_accounted_for_in_postgres(tmp_path: Path, postgres: PostgresProcess) -> None:
    rig = Rig(tmp_path, environment={"GOVERNOR_DATABASE_URL": postgres.url})
    try:
        await run(rig)
    finally:
        rig.remove()
