"""What people ask about measurements: queue or cancel a sweep, apply what it found, price calls; signed and audited."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson

from backend.call import new_id
from backend.engine.deployments import dump_one, own_deployments
from backend.engine.journal import now_ms
from backend.engine.price import TokenRates
from backend.engine.shapes import limit_shapes
from backend.engine.sweep import Plan, check_plan
from backend.engine.wishes import change_engine
from backend.errors import BadRequest, Conflict, NotFound
from backend.settings.knobs import EngineSpec
from backend.settings.signature import Signature
from backend.settings.store import Change, Version, apply_partial, current
from db.audit import AuditRow, insert_act
from db.engine import Connection, Engine, reading, writing
from db.sweeps import SweepRow, insert_sweep, read_sweep, want_cancel
from db.token_shapes import read_token_shapes

MOST_SHAPES = 200
_NUSD = 1_000_000_000


def queue_sweep(engine: Engine, name: str, plan: Plan, by: Signature) -> str:
    """Have an engine's keeper run a sweep when its turn comes; the sweep's id. Raises ``NotFound``, ``BadRequest``."""
    _find(engine, name)
    try:
        check_plan(plan)
    except ValueError as error:
        raise BadRequest(str(error), param="plan") from None
    sweep = SweepRow(new_id(), name, "queued", plan.write(), by.actor, by.reason, now_ms())
    with writing(engine) as connection:
        insert_sweep(connection, sweep)
        _audit(connection, "engine.sweep", name, by, {"sweep_id": sweep.id, "plan": orjson.loads(sweep.plan)})
    return sweep.id


def plan_like_traffic(engine: Engine, name: str, plan: Plan) -> Plan:
    """The plan with shapes of calls that were recorded: this engine's, else everybody's. Raises ``NotFound``."""
    spec = _find(engine, name)
    with reading(engine) as connection:
        pairs = read_token_shapes(connection, name, MOST_SHAPES) or read_token_shapes(connection, None, MOST_SHAPES)
    if not pairs:
        raise NotFound("No answered call with known tokens was recorded yet.")
    shapes = limit_shapes(pairs, spec.max_model_len)
    return Plan(plan.concurrency, shapes, True, plan.max_num_seqs, plan.warm_up_s, plan.measure_s)


def cancel_sweep(engine: Engine, sweep_id: str, by: Signature) -> None:
    """Have a sweep end; what it measured stays. Raises ``NotFound``, ``Conflict`` when it had ended."""
    sweep = _find_sweep(engine, sweep_id)
    with writing(engine) as connection:
        if not want_cancel(connection, sweep_id, now_ms()):
            raise Conflict(f"Sweep {sweep_id} has ended already.")
        _audit(connection, "engine.sweep.cancel", sweep.engine, by, {"sweep_id": sweep_id})


def apply_sweep(engine: Engine, sweep_id: str, by: Signature) -> Version:
    """Put a sweep's sweet spot in force: the admission window at once, another batch size staged.

    Raises ``NotFound``, and ``Conflict`` where the sweep found none.
    """
    sweep = _find_sweep(engine, sweep_id)
    stage = _sweet_stage(sweep)
    values: dict[str, Any] = {"max_running": stage["concurrency"]}
    if stage.get("max_num_seqs"):
        values["max_num_seqs"] = stage["max_num_seqs"]
    return change_engine(engine, sweep.engine, values, by)


def price_engine(engine: Engine, name: str, rates: TokenRates, by: Signature) -> Version:
    """Price the engine's calls from now on; calls already made keep their price. Raises ``NotFound``."""
    found = current(engine)
    deployments = found.settings.deployments
    own = {each.name for each in own_deployments(_find(engine, name), "http://127.0.0.1/v1")}
    if all(each.name != name for each in deployments):
        raise NotFound(f"There is no deployment {name} yet; the keeper makes it when the engine first answers.")
    price = {"input": _dollars(rates.input_nusd_per_mtok), "output": _dollars(rates.output_nusd_per_mtok)}
    changed = [dump_one(each) | ({"price": price} if each.name in own else {}) for each in deployments]
    return apply_partial(engine, Change({"deployments": changed}, by, found.version))


def record_adjustment(engine: Engine, name: str, changes: Mapping[str, Any], by: Signature) -> None:
    """Keep what a period of an engine really cost beside what its calls were priced at; no call is changed."""
    _find(engine, name)
    with writing(engine) as connection:
        _audit(connection, "engine.adjustment", name, by, changes)


def _sweet_stage(sweep: SweepRow) -> Mapping[str, Any]:
    results = orjson.loads(sweep.results or "{}")
    spot = results.get("sweet_spot") or {"place": None, "reason": "nothing was measured"}
    if spot["place"] is None:
        raise Conflict(f"Sweep {sweep.id} found no sweet spot: {spot['reason']}.")
    stage: Mapping[str, Any] = results["stages"][spot["place"]]
    return stage


def _find(engine: Engine, name: str) -> EngineSpec:
    specs = {spec.name: spec for spec in current(engine).settings.engine.engines}
    if name not in specs:
        raise NotFound(f"There is no engine {name}; known: {', '.join(specs) or 'none'}.")
    return specs[name]


def _find_sweep(engine: Engine, sweep_id: str) -> SweepRow:
    with reading(engine) as connection:
        sweep = read_sweep(connection, sweep_id)
    if sweep is None:
        raise NotFound(f"There is no sweep {sweep_id}.")
    return sweep


def _dollars(nusd: int) -> str:
    return str(Decimal(nusd) / _NUSD)


def _audit(connection: Connection, action: str, subject: str, by: Signature, changes: Mapping[str, Any]) -> None:
    said = orjson.dumps(changes).decode()
    insert_act(connection, AuditRow(new_id(), now_ms(), by.actor, action, subject, by.reason, said))
