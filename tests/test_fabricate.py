from __future__ import annotations

import pytest
from sqlalchemy import Engine, func, select

from db.engine import reading, writing
from db.tables import calls, metadata
from tests.fabricate import DAY_MS, Plan, fabricate, fill_rollups

ROLLUPS = [name for name in metadata.tables if name.endswith(("rollups", "latency_totals"))]


def rows_of(engine: Engine) -> dict[str, set[tuple[object, ...]]]:
    with reading(engine) as connection:
        return {name: {tuple(row) for row in connection.execute(select(metadata.tables[name]))} for name in ROLLUPS}


@pytest.mark.parametrize("plan", [Plan(1_003, days=4), Plan(500, days=1, end_at=20_000 * DAY_MS + 5), Plan(0)])
def test_rollups_of_a_fabricated_ledger_are_those_of_its_calls(engine: Engine, plan: Plan) -> None:
    fabricate(engine, plan)
    made = rows_of(engine)
    with writing(engine) as connection:
        found = connection.execute(select(func.count(), func.count(calls.c.id.distinct()))).one()
        first, last = connection.execute(select(func.min(calls.c.started_at), func.max(calls.c.started_at))).one()
        for name in ROLLUPS:
            connection.execute(metadata.tables[name].delete())
    fill_rollups(engine)
    assert made == rows_of(engine)
    assert tuple(found) == (plan.calls, plan.calls)
    assert plan.calls == 0 or plan.start_at <= first < last < plan.end_at
