"""What an engine's calls were settled at, and what it really cost."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from backend.engine.price import TokenRates
from backend.pricing.prices import row_of
from backend.reports.engine_price import read_engine_price, up_within
from backend.reports.filters import make_scope
from backend.reports.ledger import Ledger
from backend.settings.knobs import EngineSpec
from db.engine import Engine, writing
from db.engine_samples import EngineSample, add_samples
from db.prices import add_price
from db.sweeps import SweepRow, insert_sweep
from tests.reports.ledgers import HOUR_MS, ledger_of, random_rows, write_calls

START = 20_000 * 24 * HOUR_MS
SCOPE = make_scope(START, START + 4 * HOUR_MS)
SPEC = EngineSpec(name="local", model="m", usd_per_gpu_hour=Decimal("3.6"))
EFFORT = {"prompt_us_per_mtok": 10_000_000, "completion_us_per_mtok": 50_000_000, "method": "stated"}


@pytest.fixture
def ran(sqlite: Engine, tmp_path: Path) -> Ledger:
    """An engine that ran for one hour and answered 100 calls of 1,000 and 500 tokens; 20 more were spared it."""
    rows = random_rows(120)
    for number, row in enumerate(rows):
        row |= {"id": f"call-{number:05d}", "started_at": START + number * 1000, "deployment": "local"}
        row |= {
            "prompt_tokens": 1_000,
            "completion_tokens": 500,
            "cost_nusd": 10_000,
            "state": "settled",
            "status": "ok",
            "cache_kind": ("miss", "bypass")[number % 2] if number < 100 else ("exact", "coalesced")[number % 2],
        }
    write_calls(sqlite, rows)
    with writing(sqlite) as connection:
        times = range(START, START + HOUR_MS + 1, 30_000)
        add_samples(connection, [EngineSample("local", at, "{}") for at in times])
        results = orjson.dumps({"effort": EFFORT, "stages": []}).decode()
        insert_sweep(connection, SweepRow("one", "local", "done", "{}", "ann", "why", 1, results=results))
        rates = {"standard": [{"above_tokens": 0, "input": 150_000_000, "output": 600_000_000}]}
        add_price(connection, row_of("api-model", None, rates))
    return ledger_of(sqlite, tmp_path)


def test_an_hour_of_the_engine_is_shared_among_its_calls(ran: Ledger) -> None:
    found = read_engine_price(ran, SCOPE, SPEC, ("api-model",))
    assert found.missing == ()
    assert found.hour_nusd == 3_600_000_000
    assert found.margin == TokenRates(10_000_000, 50_000_000)
    assert found.total.up_ms == HOUR_MS
    assert found.total.paid_nusd == 3_600_000_000
    assert found.total.settled_nusd == 1_000_000
    assert found.total.adjustment_nusd == 3_599_000_000
    assert found.total.utilisation == pytest.approx(3.5 / 3600)
    assert found.amortised is not None
    assert found.amortised.cost_nusd(100_000, 50_000) == pytest.approx(3_600_000_000, rel=1e-6)


def test_periods_add_up_to_the_range(ran: Ledger) -> None:
    found = read_engine_price(ran, SCOPE, SPEC)
    assert sum(each.up_ms for each in found.periods) == found.total.up_ms
    assert sum(each.calls for each in found.periods) == found.total.calls == 100
    assert sum(each.settled_nusd for each in found.periods) == found.total.settled_nusd


def test_an_api_is_compared_for_the_same_calls(ran: Ledger) -> None:
    api = read_engine_price(ran, SCOPE, SPEC, ("api-model",)).apis[0]
    assert api.same_traffic_nusd == 100 * (150_000 + 300_000)
    assert api.break_even.calls_per_hour == 8_000
    assert api.break_even.reachable


def test_what_is_unknown_is_named_and_nothing_is_zero(sqlite: Engine, tmp_path: Path) -> None:
    ledger = ledger_of(sqlite, tmp_path)
    free = EngineSpec(name="local", model="m")
    found = read_engine_price(ledger, SCOPE, free, ("api-model",))
    assert found.missing == (
        "usd_per_gpu_hour of the engine",
        "a sweep of the engine",
        "readings of the engine within the range",
        "calls within the range",
    )
    assert (found.margin, found.amortised, found.total.paid_nusd, found.total.adjustment_nusd) == (None,) * 4
    assert found.periods == ()


def test_an_api_without_a_price_is_named(ran: Ledger) -> None:
    found = read_engine_price(ran, SCOPE, SPEC, ("nobody-knows-it",))
    assert found.apis == ()
    assert found.missing == ("a price of nobody-knows-it",)


def test_an_engine_ran_only_between_readings_that_are_close() -> None:
    times = [0, 10_000, 20_000, 500_000, 510_000]
    assert up_within(times, 0, 600_000) == 30_000
    assert up_within(times, 5_000, 505_000) == 20_000
    assert up_within([], 0, 10) == up_within([5], 0, 10) == 0
