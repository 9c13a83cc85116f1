"""The command as a whole: help, exit codes, failures told in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.cli.conftest import Governor

ROOT = Path(__file__).resolve().parents[2]


def test_help_loads_nothing_that_takes_long() -> None:
    script = (
        "import sys; from backend.cli.main import run; code = run(['--help']);"
        "heavy = {'litellm', 'pandas', 'streamlit', 'sqlalchemy', 'pydantic', 'aiohttp', 'rich', 'yaml'};"
        "print(sorted(heavy & set(sys.modules)), code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[] 0"
    for command in (
        "up",
        "demo",
        "gateway",
        "console",
        "settings",
        "calls",
        "keys",
        "cache",
        "prices",
        "db",
        "doctor",
        "version",
    ):
        assert f"  {command} " in done.stdout


def test_the_version_is_that_of_the_distribution(governor: Governor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "9.8.7" if name == "governor" else "0")
    assert governor("version").out == "governor 9.8.7\n"
    assert governor("version", "--json").lines == [{"version": "9.8.7"}]


def test_a_wrong_call_is_told_in_one_line_with_exit_code_2(governor: Governor) -> None:
    said = governor("settings", "rollback", "not-a-number", "--reason", "x")
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("governor: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("command", [("calls", "totals"), ("engine", "sweeps"), ("engine", "qualities")])
def test_a_failure_is_told_in_one_line_with_exit_code_1(
    governor: Governor, data_dir: Path, command: tuple[str, ...]
) -> None:
    said = governor(*command)
    assert said.code == 1
    assert not data_dir.exists()
    assert "There is no database at" in said.err
    assert "Traceback" not in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "code"), [(["calls", "totals"], 1), (["keys", "revoke"], 2)])
def test_with_json_a_failure_has_openai_shape(governor: Governor, arguments: list[str], code: int) -> None:
    said = governor(*arguments, "--json")
    assert said.code == code
    assert said.out == ""
    assert orjson.loads(said.err)["error"].keys() == {"message", "type", "param", "code"}


def test_a_refusal_keeps_its_own_code_in_json(ready: Governor) -> None:
    said = ready("settings", "set", "cache.ttl_s", "-5", "--reason", "below the bound", "--json")
    error = orjson.loads(said.err)["error"]
    assert (said.code, error["code"], error["param"]) == (1, "invalid_settings", "cache.ttl_s")


def test_an_unexpected_failure_is_one_line_too(ready: Governor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(*_: object, **__: object) -> None:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr("backend.settings.store.history", fall)
    said = ready("settings", "history")
    assert (said.code, said.err) == (1, "governor: ZeroDivisionError: first second\n")


def test_a_wrong_environment_names_its_variable(governor: Governor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVERNOR_WORKERS", "many")
    said = governor("db", "upgrade")
    assert said.code == 1
    assert "GOVERNOR_WORKERS" in said.err


def test_a_reader_that_leaves_early_is_no_failure(tmp_path: Path) -> None:
    environment = {**os.environ, "GOVERNOR_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "backend.cli.main", "prices", "list", "--limit", "2000"]
    subprocess.run([*command[:3], "db", "upgrade"], env=environment, check=True, capture_output=True)
    listing = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.readline()
    listing.stdout.close()
    assert listing.stderr.read() == b""
    assert listing.wait() == 0
    listing.stderr.close()
