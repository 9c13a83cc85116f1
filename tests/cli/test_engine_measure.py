"""Measuring from the command line: a sweep beside a keeper and in the foreground, memory, price, quantise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from backend.engine.launch import PYTHON_VARIABLE
from tests.cli.conftest import Governor
from tests.engine.houses import QUICK, KeptHouse
from tests.engine.known_models import KNOWN
from tests.engine.speaking import Speaking, speaking

WHY = ("--reason", "a test")
SHORT = ("--concurrency", "1,2", "--shape", "8:2", "--seconds", "0.2", "--warm-up", "0")


@pytest.fixture
def server() -> Iterator[Speaking]:
    with speaking() as found:
        yield found


@pytest.fixture
def attached(ready: Governor, data_dir: Path, server: Speaking) -> Governor:
    """The command, with an engine that runs elsewhere; nobody keeps it."""
    with KeptHouse(data_dir) as house:
        house.tune(**QUICK)
    assert ready("engine", "add", "far", "--model", "m", "--url", server.place.url, *WHY).code == 0
    return ready


def test_a_sweep_runs_in_the_keeper_and_its_sweet_spot_is_applied(attached: Governor, data_dir: Path) -> None:
    with KeptHouse(data_dir) as house:
        house.start_keeper()
        said = attached("engine", "sweep", "far", *SHORT, "--apply", "--json", *WHY)
        assert said.code == 0, said.err
        assert [line["concurrency"] for line in said.lines] == [1, 2]
        best = next(line for line in said.lines if line["sweet"])
        assert house.settings.engine.engines[0].max_running == best["concurrency"]
        assert attached("engine", "sweeps", "far", "--json").lines[0]["state"] == "done"


def test_a_sweep_runs_in_the_foreground_without_a_keeper(attached: Governor) -> None:
    first = attached("engine", "sweep", "far", *SHORT, "--foreground")
    assert first.code == 0, first.err
    assert "concurrency" in first.out
    assert "the targets at" in first.err
    again = attached("engine", "sweep", "far", *SHORT, "--foreground", "--against", "far", "--json")
    assert [line["engine"] for line in again.lines] == ["far"] * 4


def test_a_sweep_that_fails_says_why(attached: Governor, server: Speaking) -> None:
    server.fails_every = 1
    said = attached("engine", "sweep", "far", *SHORT, "--foreground")
    assert said.code == 1
    assert "overloaded" in said.err


def test_a_plan_that_makes_no_sense_is_misuse(attached: Governor) -> None:
    assert attached("engine", "sweep", "far", "--shape", "many").code == 2
    assert attached("engine", "sweep", "far", "--concurrency", "0").code == 2
    assert attached("engine", "sweep", "nobody", *SHORT).code == 1


def test_the_memory_of_a_model_is_planned_from_its_configuration(ready: Governor, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(orjson.dumps(KNOWN["Llama-3.1-8B"][1]))
    fits = ready("engine", "memory", str(tmp_path), "--gpu-gib", "24", "--sequences", "4", "--json")
    assert fits.code == 0
    assert fits.lines[0]["parameters"] == 8_030_261_248
    assert fits.lines[0]["parts"]["weights"] == 16_060_522_496
    tight = ready("engine", "memory", str(tmp_path), "--gpu-gib", "16")
    assert (tight.code, "does not fit: weights and overhead take" in tight.out) == (1, True)
    assert ready("engine", "memory", str(tmp_path), "--precision", "int3").code == 1
    assert ready("engine", "memory", str(tmp_path / "nowhere")).code == 1


def test_a_price_says_what_is_missing_and_is_never_made_up(attached: Governor) -> None:
    said = attached("engine", "price", "far", "--against", "gpt-4o-mini")
    assert said.code == 0
    assert "missing: usd_per_gpu_hour of the engine, a sweep of the engine" in said.out
    applied = attached("engine", "price", "far", "--apply", "margin", *WHY)
    assert (applied.code, "The price is unknown" in applied.err) == (1, True)
    assert attached("engine", "price", "far", "--apply", "margin").code == 2
    assert attached("engine", "price", "far", "--range", "1y").code == 2


def test_calls_are_priced_at_the_margin_on_request(attached: Governor, data_dir: Path) -> None:
    attached("engine", "change", "far", "--set", "usd_per_gpu_hour=2", *WHY)
    with KeptHouse(data_dir) as house:
        house.start_keeper()
        house.wait(lambda: house.deployment("far"))
        assert attached("engine", "sweep", "far", *SHORT, *WHY).code == 0
        assert attached("engine", "price", "far", "--apply", "margin", "--record", *WHY).code == 0
        deployment = house.deployment("far")
        assert deployment is not None
        assert deployment.price is not None
        assert deployment.price.output > deployment.price.input > 0


def test_quantising_shows_its_progress_and_ends_with_the_result(
    ready: Governor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = '{"stage": "done", "done": 1, "total": 1, "out": "q", "bytes": 5000000}'
    monkeypatch.setenv(PYTHON_VARIABLE, str(script(tmp_path, f"echo '{told}'")))
    said = ready("engine", "quantise", "model", str(tmp_path / "out"))
    assert (said.code, said.out) == (0, "q: 5.0 MB\n")


def test_quantising_that_fails_says_what_it_said_last(
    ready: Governor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, str(script(tmp_path, "echo first >&2; echo out of memory >&2; exit 3")))
    said = ready("engine", "quantise", "model", str(tmp_path / "out"))
    assert (said.code, "out of memory" in said.err, "first" in said.err) == (1, True, False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "is not empty" in ready("engine", "quantise", "model", str(tmp_path / "full")).err
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "no-python"))
    assert "`make engine`" in ready("engine", "quantise", "model", str(tmp_path / "out")).err


def script(folder: Path, line: str) -> Path:
    """Stands in for the engine's Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path
