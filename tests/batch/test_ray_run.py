"""Lines over Ray: read, spread, resumed. The run itself needs Ray's own environment; the rest does not."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.batch.ray_run import Caller, read_done, read_rows
from backend.cli.batch_ray import SCRIPT
from tests.batch.jobs import jsonl, request
from tests.faults.rig import PATIENT, Rig
from tests.sources import ROOT

RAY = ROOT / ".venv-ray"
PYTHON = RAY / "bin" / "python"
INSTALLED = any(RAY.glob("lib/python*/site-packages/ray"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("ray"))
    try:
        rig.start({"upstream": PATIENT})
        yield rig
    finally:
        rig.remove()


def line(number: int, model: str = "fake/ok") -> dict[str, Any]:
    messages = [{"role": "user", "content": str(uuid.uuid4())}]
    return request(number, body={"model": model, "messages": messages})


def address(rig: Rig) -> str:
    return f"http://127.0.0.1:{rig.gateway.port}"


def test_lines_that_have_a_result_are_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(request(1), b"", request(2), request(3)))
    assert [row["number"] for row in read_rows(path, {"r2"})] == [1, 4]
    path.write_bytes(jsonl({"custom_id": "a"}))
    with pytest.raises(ValueError, match="line 1"):
        read_rows(path, set())


def test_a_result_that_was_only_half_written_does_not_count(tmp_path: Path) -> None:
    part = tmp_path / "part"
    assert read_done(part) == []
    part.write_text('{"number": 1}\n{"numb')
    assert read_done(part) == [{"number": 1}]


@pytest.mark.parametrize(("model", "status"), [("fake/ok", 200), ("fake/400", 400)])
def test_an_actor_gives_a_line_of_the_results(place: Rig, model: str, status: int) -> None:
    row = Caller(address(place), "none", "night")({"number": 3, "line": json.dumps(line(7, model))})
    result = json.loads(row["result"])
    assert (row["number"], result["custom_id"], result["response"]["status_code"]) == (3, "r7", status)
    assert result["response"]["request_id"]
    assert (row["cost_nusd"] > 0) == (status == 200)


def test_an_actor_without_a_gateway_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.batch.ray_run._PAUSE_S", 0)
    row = Caller("http://127.0.0.1:9", "none", "night")({"number": 1, "line": json.dumps(line(1))})
    assert json.loads(row["result"])["response"]["body"]["error"]["code"] == "unreachable"


def run_script(rig: Rig, *arguments: str) -> dict[str, Any]:
    options = ["--address", address(rig), "--parallel", "2"]
    command = [str(PYTHON), str(SCRIPT), *arguments, *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240, env=dict(os.environ))
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="Ray is not installed: make ray")
def test_a_file_runs_over_rays_actors_and_goes_on_where_it_was_cut_off(place: Rig, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [line(number) for number in range(12)]
    source.write_bytes(jsonl(*lines))
    kept = {"custom_id": "r0", "response": {"status_code": 200, "request_id": "x", "body": {}}, "error": None}
    part = {"number": 1, "result": json.dumps(kept), "cost_nusd": 5}
    target.with_name("out.jsonl.part").write_text(json.dumps(part) + '\n{"numb')
    told = run_script(place, str(source), str(target))
    results = [json.loads(each) for each in target.read_text().splitlines()]
    assert [each["custom_id"] for each in results] == [each["custom_id"] for each in lines]
    assert results[0] == kept
    assert {each["response"]["status_code"] for each in results} == {200}
    assert (told["results"], told["whole"], told["cost_nusd"] > 5) == (12, True, True)
    assert not target.with_name("out.jsonl.part").exists()
    place.gateway.stop()
    rows = {call["id"]: call for call in place.gateway.export()}
    assert {rows[each["response"]["request_id"]]["tags"]["batch"] for each in results[1:]} == {"ray"}
