"""A real vLLM on this machine's CPU with tiny models: kept, called through the gateway, changed, killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from backend.engine import wishes
from backend.engine.architecture import read_architecture
from backend.engine.health import Place as Served
from backend.engine.measure_wishes import queue_sweep
from backend.engine.memory import GIB, Model, kv_bytes_per_token, weight_bytes
from backend.engine.process import Pid, session_members
from backend.engine.quality import compare_scores, cut_rows, score_served, score_unserved, tokenise
from backend.engine.scrape import take_reading
from backend.engine.shapes import Shape
from backend.engine.sweep import Plan
from backend.settings.store import Change, apply_partial
from db.engine import reading as reading_database
from db.sweeps import SweepRow, read_sweep
from tests.cli.governor_process import ROOT, GovernorProcess
from tests.engine import callers
from tests.engine.callers import Load, Outcome
from tests.engine.houses import BY, KeptHouse

PYTHON = ROOT / ".venv-engine" / "bin" / "python"
PATIENCE_S = 420.0
FALLBACK = "simulated-gpt-4o-mini"
SPEC: dict[str, Any] = {
    "name": "tiny",
    "max_model_len": 1024,
    "max_num_seqs": 16,
    "cpu_kv_cache_gb": 1,
    "cpu_threads": 2,
    "offline": True,
    "extra_args": ["--enforce-eager"],
    "usd_per_gpu_hour": 0.5,
}
KNOBS = {
    "start_deadline_s": PATIENCE_S,
    "trial_load_s": 2.0,
    "trial_s": 1.0,
    "health_period_s": 2.0,
    "health_deadline_s": 60.0,
    "drain_s": 10.0,
}
"""A machine that does much else at once is slow, not ill."""
MEASURED = ("calls", "tokens_per_s", "ttft_p95_ms", "itl_p95_ms", "nusd_per_mtok")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment with vLLM; `make engine` makes one"),
]


def make_models(folder: Path, *names: str) -> None:
    subprocess.run([PYTHON, ROOT / "tests/tiny_models.py", folder, *names], check=True, capture_output=True)


@dataclass
class Place:
    """A gateway with its keeper, and the models beside."""

    house: KeptHouse
    gateway: GovernorProcess
    models: Path

    def core(self) -> psutil.Process:
        """The process that computes."""
        row = self.house.row("tiny")
        assert row.pid is not None
        assert row.pid_started_at is not None
        members = [psutil.Process(pid) for pid in session_members(Pid(row.pid, row.pid_started_at))]
        return next(each for each in members if "EngineCore" in " ".join(each.cmdline()))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("engine")
    models = folder / "models"
    make_models(models, "bf16", "draft", "w4a16")
    (folder / "data").mkdir()
    with KeptHouse(folder / "data", PATIENCE_S) as house:
        speculation = {"method": "ngram", "tokens": 3}
        spec = SPEC | {"model": str(models / "bf16"), "speculation": speculation}
        house.configure(spec, **KNOBS)
        apply_partial(house.engine, Change({"routing": {"default_fallbacks": [FALLBACK]}}, BY))
        wishes.start_engine(house.engine, "tiny", BY)
        with GovernorProcess(folder, "gateway") as gateway:
            house.wait_for_state("ready", "tiny")
            yield Place(house, gateway, models)
            assert gateway.stop() == 0


async def ask_once(place: Place, words: str, *, stream: bool = False) -> Outcome:
    return await callers.ask_once(place.gateway.port, "tiny", words, stream=stream)


def export(place: Place) -> list[dict[str, Any]]:
    return callers.export(place.gateway)


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_reach_the_engine_through_the_gateway(place: Place, stream: bool) -> None:
    outcome = await ask_once(place, f"hello {stream}", stream=stream)
    assert outcome.whole, outcome
    place.house.wait(lambda: any(row["deployment"] == "tiny" and row["stream"] == stream for row in export(place)))
    row = next(row for row in export(place) if row["stream"] == stream)
    assert (row["status"], row["provider"], row["usage_source"]) == ("ok", "vllm", "provider")
    assert row["completion_tokens"] == 16


async def test_the_engines_own_figures_are_kept(place: Place) -> None:
    await ask_once(place, "one two one two one two one two one two one two")
    place.house.wait(lambda: place.house.generated("tiny") > 0)
    figures = orjson.loads(place.house.samples("tiny")[-1].figures)
    assert figures["running"] is not None
    assert 0 <= figures["kv_use"] <= 1
    assert figures["kv_tokens"] > 0


async def test_a_sweep_runs_in_the_keeper_while_the_engine_serves(place: Place) -> None:
    plan = Plan((1, 4), (Shape(32, 8),), warm_up_s=0.5, measure_s=2.0)
    sweep_id = queue_sweep(place.house.engine, "tiny", plan, BY)
    place.house.wait(lambda: read_state(place, sweep_id).state not in {"queued", "running"})
    row = read_state(place, sweep_id)
    results = orjson.loads(row.results or "")
    assert row.state == "done", row.message
    assert [stage["failed"] for stage in results["stages"]] == [0, 0]
    assert all(stage["seen"]["completion_tokens"] > 0 for stage in results["stages"])
    assert results["effort"]["completion_us_per_mtok"] > 0


@pytest.mark.usefixtures("long_form")
async def test_the_served_model_is_judged_against_the_same_model_in_transformers(place: Place) -> None:
    served = Served(f"http://127.0.0.1:{place.house.row('tiny').port}/v1", "tiny")
    rows = cut_rows(tokenise(served, (ROOT / "README.md").read_text()), 64, 4)
    reference = score_unserved(str(place.models / "bf16"), rows, PYTHON)
    found = compare_scores(reference, score_served(served, rows))
    assert found.tokens == 4 * 63
    assert found.agreement > 0.5  # random weights leave many words nearly as likely as the best
    assert abs(found.perplexity_ratio - 1) < 0.01


async def test_the_planned_kv_cache_is_the_one_the_engine_reports(place: Place) -> None:
    config = orjson.loads((place.models / "bf16" / "config.json").read_bytes())
    counted = read_architecture(config)
    weights = sum(path.stat().st_size for path in (place.models / "bf16").glob("*.safetensors"))
    assert abs(weight_bytes(Model(counted)) - weights) < 65_536  # the file's own head
    reading = take_reading(f"http://127.0.0.1:{place.house.row('tiny').port}")
    assert reading.kv_tokens == SPEC["cpu_kv_cache_gb"] * GIB // kv_bytes_per_token(counted)


def read_state(place: Place, sweep_id: str) -> SweepRow:
    with reading_database(place.house.engine) as connection:
        row = read_sweep(connection, sweep_id)
    assert row is not None
    return row


async def test_a_staged_change_is_measured_before_and_after(place: Place) -> None:
    """Quantised weights, and a draft model in place of n-grams."""
    house = place.house
    speculation = {"method": "draft", "tokens": 2, "draft_model": str(place.models / "draft")}
    house.change("tiny", model=str(place.models / "w4a16"), speculation=speculation)
    wishes.apply_engine(house.engine, "tiny", BY)
    event = house.wait_for_kind("apply", 1, "tiny")
    for figures in (orjson.loads(event.before or ""), orjson.loads(event.after or "")):
        assert figures["error_rate"] == 0.0
        assert (
            min(figures[name] for name in ("calls", "tokens_per_s", "ttft_p95_ms", "itl_p95_ms", "nusd_per_mtok")) > 0
        )
    house.wait_for_state("ready", "tiny")
    assert "--speculative-config" in " ".join(psutil.Process(house.row("tiny").pid).cmdline())
    log = (house.folder / "engines/tiny/engine.log").read_text()
    assert "quantization=compressed-tensors" in log
    outcome = await ask_once(place, "hello again")
    assert outcome.whole, outcome


async def test_a_killed_core_costs_no_call_its_record(place: Place) -> None:
    """Calls fall back or fail visibly, the engine comes back, and the ledger has every call as its caller saw it."""
    known = len(export(place))
    core, load = place.core(), Load(place.gateway.port, "tiny")
    calling = asyncio.create_task(load.run(4))
    await asyncio.to_thread(place.house.wait, lambda: len(load.outcomes) >= 20)
    os.kill(core.pid, 9)
    event = await asyncio.to_thread(place.house.wait_for_kind, "back off", 1, "tiny")
    assert "ended" in event.message
    await asyncio.to_thread(place.house.wait_for_state, "ready", "tiny")
    load.done.set()
    await calling
    assert not psutil.pid_exists(core.pid) or psutil.Process(core.pid).create_time() != core.create_time()
    outcome = await ask_once(place, "are you back")
    assert outcome.whole
    placed = len(load.outcomes) + 1
    place.house.wait(lambda: len(export(place)) == known + placed)
    rows = export(place)[-placed:]
    assert {row["state"] for row in rows} <= {"settled", "estimated", "failed", "unknown"}
    whole = callers.count_whole(load.outcomes) + 1
    statuses = Counter(row["status"] for row in rows)
    assert statuses["ok"] == whole, (statuses, [each for each in load.outcomes if not each.whole])
    assert {row["deployment"] for row in rows} >= {"tiny", FALLBACK}
