"""The batch commands, through a gateway that runs: run, run again, stop by money, cancel, results."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Governor
from tests.faults.rig import PATIENT, Rig

SETTINGS = {"upstream": PATIENT, "cache": {"exact_enabled": False}, "batch": {"max_parallel": 1}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("batch"))
    try:
        rig.start(SETTINGS)
        yield rig
    finally:
        rig.remove()


def write(folder: Path, *models: str) -> Path:
    path = folder / "in.jsonl"
    lines = [
        {
            "custom_id": f"r{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": str(uuid.uuid4())}]},
        }
        for number, model in enumerate(models)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def batch(rig: Rig, *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(rig.gateway.run_command("batch", *map(str, arguments), "--json"))
    return found


def test_a_file_is_run_and_its_results_lie_beside_it(place: Rig, tmp_path: Path) -> None:
    path = write(tmp_path, *["fake/ok"] * 3)
    job = batch(place, "run", path)
    assert (job["status"], job["request_counts"]["completed"]) == ("completed", 3)
    results = [json.loads(line) for line in (tmp_path / "in.results.jsonl").read_text().splitlines()]
    assert [line["custom_id"] for line in results] == ["r0", "r1", "r2"]
    assert batch(place, "status", job["id"]) == job
    printed = place.gateway.run_command("batch", "results", job["id"])
    assert [json.loads(line) for line in printed.splitlines()] == results
    assert job["id"] in place.gateway.run_command("batch", "list")


def test_the_same_file_goes_on_and_is_not_begun_anew(place: Rig, tmp_path: Path) -> None:
    path = write(tmp_path, *["fake/slow-first-byte:100"] * 6)
    begun = batch(place, "run", path, "--detach")
    job = batch(place, "run", path)
    assert (job["id"], job["status"]) == (begun["id"], "completed")
    assert batch(place, "run", path)["id"] == job["id"]
    assert batch(place, "run", path, "--again")["id"] != job["id"]


def test_lines_that_fail_make_the_command_fail_and_are_in_the_results(place: Rig, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(RuntimeError, match="1 of its lines failed"):
        place.gateway.run_command("batch", "run", str(write(tmp_path, "fake/ok", "fake/400")), "--output", str(target))
    codes = [json.loads(line)["response"]["status_code"] for line in target.read_text().splitlines()]
    assert codes == [200, 400]


def test_a_file_that_is_wrong_is_refused_with_its_lines(place: Rig, tmp_path: Path) -> None:
    path = write(tmp_path, "fake/ok")
    path.write_text(path.read_text() + "\nnonsense\n")
    with pytest.raises(RuntimeError, match="no line was sent"):
        place.gateway.run_command("batch", "run", str(path))
    path.write_text("nonsense")
    with pytest.raises(RuntimeError, match="no request with a url"):
        place.gateway.run_command("batch", "run", str(path))


def test_money_ends_a_job(place: Rig, tmp_path: Path) -> None:
    path = write(tmp_path, *["fake/ok"] * 5)
    with pytest.raises(RuntimeError, match="4 of its lines failed or were not done"):
        place.gateway.run_command("batch", "run", str(path), "--max-cost", "0.000000001")


def test_a_job_is_cancelled(place: Rig, tmp_path: Path) -> None:
    job = batch(place, "run", write(tmp_path, *["fake/slow-first-byte:300"] * 50), "--detach")
    assert batch(place, "cancel", job["id"])["status"] == "cancelling"


def test_without_a_gateway_they_say_so(ready: Governor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVERNOR_GATEWAY_PORT", "9")
    said = ready("batch", "run", str(write(tmp_path, "fake/ok")))
    assert (said.code, "No gateway answers" in said.err) == (1, True)
