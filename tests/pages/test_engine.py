"""Engines as the page shows them: none, stopped, running, staged, changed; what is asked of them has a reason."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from backend.actions import Signature, add_engine, change_engine, start_engine
from backend.engine.journal import write_spec
from backend.engine.scrape import Latency, Sample
from backend.engine.stages import Slo, Spread, Stage
from backend.engine.sweep import Plan, results_of
from backend.reports.engine_sweeps import read_sweeps
from backend.reports.ledger import Ledger
from backend.settings.store import current
from db.bounded import open_database
from db.engine import connect, writing
from db.engine_events import EngineEvent, insert_event
from db.engine_samples import EngineSample, add_samples
from db.engines import write_state
from db.sweeps import SweepRow, insert_sweep
from tests.pages.conftest import Visit, build_ledger

PATH = "pages/tune/engine.py"
LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
}
ANA = Signature("ana", "test")


class Rack:
    """A data folder with one engine, and what a keeper would have written of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = build_ledger(folder, 0)
        self.engine: Engine = connect(f"sqlite:///{folder / 'governor.db'}")
        add_engine(self.engine, {"name": "local", "model": "tiny", "max_num_seqs": 8, "max_running": 4}, ANA)

    def run(self, **figures: Any) -> None:
        """It is ready and was read a moment ago."""
        start_engine(self.engine, "local", ANA)
        spec, now_ms = current(self.engine).settings.engine.engines[0], time.time_ns() // 1_000_000
        sample = Sample(now_ms, **figures).figures()
        with writing(self.engine) as connection:
            said = {"launched": write_spec(spec), "port": 8123, "heartbeat_at": now_ms + 3_600_000, "request": ""}
            write_state(connection, "local", state="ready", **said)
            add_samples(connection, [EngineSample("local", now_ms, orjson.dumps(sample).decode())])


@pytest.fixture
def rack(tmp_path: Path) -> Rack:
    return Rack(tmp_path / "rack")


def words(app: AppTest) -> str:
    """Everything that is said in sentences."""
    return " ".join(each.value for each in (*app.markdown, *app.caption)).replace("\\", "")


def press(app: AppTest, label: str) -> AppTest:
    return next(each for each in app.button if each.label == label).click().run()


def test_without_engines_the_page_says_what_one_is_and_offers_to_add_it(visit: Visit) -> None:
    app = visit(PATH)
    assert app.subheader[0].value == "No engine yet"
    assert [each.label for each in app.button if each.key == "engine_add"] == ["Add"]


def test_a_stopped_engine_can_be_started_and_its_start_needs_a_reason(visit: Visit, rack: Rack) -> None:
    app = press(visit(PATH, rack.folder), "Start")
    assert "**Start local**" in words(app)
    assert app.text_input(key="engine_reason").label == "Why"


def test_a_wanted_engine_that_nobody_keeps_says_so(visit: Visit, rack: Rack) -> None:
    start_engine(rack.engine, "local", ANA)
    assert "No keeper looks after it" in words(visit(PATH, rack.folder))


def test_a_running_engine_shows_its_figures(visit: Visit, rack: Rack) -> None:
    rack.run(running=3, waiting=2, kv_use=0.25, completion_tokens_per_s=321.0, ttft=Latency(9, 12.0, 34.0, 50.0))
    app = visit(PATH, rack.folder)
    shown = {each.label: each.value for each in app.metric}
    assert (shown["Running"], shown["KV cache"], shown["Answer tokens/s"]) == ("3", "25.0%", "321")
    assert (shown["TTFT p95"], shown["ITL p95"]) == ("34 ms", "No traffic")
    assert "No NVIDIA GPU is seen" in words(app)
    assert "port 8123" in words(app)


def test_gpus_are_shown_where_there_are_any(visit: Visit, rack: Rack) -> None:
    gpu = {"number": 0, "name": "H200", "memory_bytes": 140 * 2**30, "memory_used_bytes": 70 * 2**30}
    rack.run(running=0, gpus=({**gpu, "utilization": 0.5, "power_w": 400.0, "temperature_c": 61},))
    app = visit(PATH, rack.folder)
    told = [each.proto.text.replace("\\", "") for each in app.get("progress")]
    assert told == ["GPU 0 H200: 70.0 of 140 GiB · 50.0% busy · 400 W · 61 °C"]


def test_what_waits_for_a_launch_is_shown_and_can_be_applied(visit: Visit, rack: Rack) -> None:
    rack.run(running=0)
    change_engine(rack.engine, "local", {"max_num_seqs": 16, "max_running": 9}, ANA)
    app = visit(PATH, rack.folder)
    assert "Staged: max_num_seqs 8 → 16" in words(app)
    assert "max_running" not in words(app)
    assert "measured again, and taken back if a target breaks" in words(press(app, "Apply"))


def test_the_form_says_which_knobs_a_running_engine_takes_at_once(visit: Visit, rack: Rack) -> None:
    app = press(visit(PATH, rack.folder), "Edit")
    live = [each.value for each in app.markdown if ":green-badge[at once]" in each.value]
    assert [each.partition("**")[2].partition("**")[0] for each in live] == [
        "Admission window",
        "Dollars per GPU\\-hour",
    ]


def test_an_attached_server_asks_only_for_what_it_has(visit: Visit, rack: Rack) -> None:
    add_engine(rack.engine, {"name": "far", "kind": "attached", "model": "m", "base_url": "http://10.0.0.9/v1"}, ANA)
    app = press(visit(PATH, rack.folder, engine="far"), "Edit")
    fields = {(each.key or "").partition("_0_")[2] for each in (*app.text_input, *app.number_input)}
    assert {"name", "model", "base_url", "api_key_env", "max_running"} <= fields
    assert not fields & {"max_num_seqs", "devices", "cpu_threads"}


def test_a_change_is_shown_with_what_was_measured_before_and_after(visit: Visit, rack: Rack) -> None:
    said = {"tokens_per_s": 100.0, "ttft_p95_ms": 50.0, "error_rate": 0.0, "nusd_per_mtok": 2_000_000_000}
    after = {**said, "tokens_per_s": 150.0, "nusd_per_mtok": 1_500_000_000}
    changes = [{"path": "max_num_seqs", "before": 8, "after": 16}]
    plain = [orjson.dumps(each).decode() for each in (changes, said, after)]
    with writing(rack.engine) as connection:
        insert_event(connection, EngineEvent("e1", "local", 1_790_000_000_000, "apply", "", "ana", "More", *plain))
    app = visit(PATH, rack.folder, part="history")
    table = app.dataframe[0].value.set_index("")
    assert list(table.loc["Answer tokens/s"]) == ["100.0", "150.0", "+50%"]
    assert list(table.loc["$ per million tokens"]) == ["$2.00", "$1.50", "-25%"]
    assert "ana: More. It stayed" in words(app)


def keep_sweep(rack: Rack, **changes: Any) -> None:
    """A sweep of two loads, the second one sweet."""
    stages = [
        Stage(count, "256:64", 40, 0, 10.0, 4.0 * count, 4.0 * count, 1000.0, 250.0 * count, Spread(9.0, 20.0, 30.0))
        for count in (1, 4)
    ]
    plain = orjson.dumps(results_of(stages, Slo())).decode()
    row = SweepRow("s1", "local", "done", Plan((1, 4)).write(), "ana", "how much", 1_790_000_000_000, 1.0, plain)
    with writing(rack.engine) as connection:
        insert_sweep(connection, replace(row, **changes))


def test_a_sweep_shows_its_curve_and_what_to_set(visit: Visit, rack: Rack) -> None:
    keep_sweep(rack)
    app = visit(PATH, rack.folder, part="sweeps")
    assert "16.00 calls/s within the targets at 4 at once" in words(app)
    table = app.dataframe[0].value
    assert list(table["At once"]) == ["1", "4"]
    assert list(table[""]) == ["", "★"]
    assert "Admission window: **4** calls at once" in words(app.button(key="sweep_apply").click().run())


def test_a_sweep_under_way_shows_how_far_it_is_and_can_be_cancelled(visit: Visit, rack: Rack) -> None:
    keep_sweep(rack, state="running", progress=0.4)
    app = visit(PATH, rack.folder, part="sweeps")
    assert [each.proto.value for each in app.get("progress")] == [40]
    app.button(key="sweep_cancel").click().run()
    [found] = read_sweeps(Ledger(open_database(str(rack.engine.url), 1000), rack.folder))
    assert found.row.cancel_wanted


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [("counts", "two", "invalid literal"), ("shape", "wide", "is no shape"), ("counts", "0", "whole numbers from 1")],
)
def test_a_plan_that_makes_no_sense_is_refused_in_words(
    visit: Visit, rack: Rack, field: str, text: str, said: str
) -> None:
    app = visit(PATH, rack.folder, part="sweeps")
    app.text_input(key=f"sweep_{field}").set_value(text)
    app.text_input(key="sweep_reason").set_value("to see")
    assert said in press(app, "Run sweep").error[0].value.replace("\\", "")


def test_the_price_says_what_it_lacks_and_never_calls_the_unknown_free(visit: Visit, rack: Rack) -> None:
    app = visit(PATH, rack.folder, part="price")
    assert "usd_per_gpu_hour of the engine, a sweep of the engine" in app.info[0].value.replace("\\", "")
    assert list(app.dataframe[0].value["Means"])[:2] == ["not known yet", "not known yet"]
    assert {each.label: each.value for each in app.metric}["Paid"] == "—"


def test_with_a_sweep_and_a_price_an_hour_tokens_have_a_price_at_the_margin(visit: Visit, rack: Rack) -> None:
    change_engine(rack.engine, "local", {"usd_per_gpu_hour": "3.60"}, ANA)
    keep_sweep(rack)
    table = visit(PATH, rack.folder, part="price").dataframe[0].value.set_index("")
    assert str(table.loc["At the margin", "In"]).startswith("$")
    assert table.loc["Amortised", "In"] == "—"


def test_the_memory_planner_answers_from_the_models_configuration(visit: Visit, rack: Rack) -> None:
    app = visit(PATH, rack.folder, part="memory")
    assert "Paste the model's config.json" in words(app)
    app.text_area(key="memory_config_local").set_value(orjson.dumps(LLAMA_8B).decode()).run()
    assert "Fits" in words(app)
    parts = app.dataframe[0].value.set_index("Part")
    assert parts.loc["weights", "Size"] == "14.96 GiB"
    app.text_area(key="memory_config_local").set_value("[]").run()
    assert "This cannot be planned" in app.error[0].value


def test_the_log_is_the_end_of_what_the_engine_said(visit: Visit, rack: Rack) -> None:
    log = rack.folder / "engines" / "local" / "engine.log"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {number}\n" for number in range(500)))
    app = visit(PATH, rack.folder, part="log")
    assert app.code[0].value.splitlines()[-1] == "line 499"
    assert len(app.code[0].value.splitlines()) == 200
