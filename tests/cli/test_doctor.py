"""The doctor: what it finds wrong, and that it says so."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from backend.cli import checks_supply
from backend.cli.checks_supply import runs_code
from tests.cli.conftest import Governor, Said
from tests.cli.governor_process import free_port


@pytest.fixture(autouse=True)
def free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATEWAY", "CONSOLE"):
        monkeypatch.setenv(f"GOVERNOR_{name}_PORT", str(free_port()))


@pytest.fixture(autouse=True)
def clean_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages without surprises, whatever this environment holds."""
    packages = tmp_path / "packages"
    packages.mkdir()
    monkeypatch.setattr("backend.cli.checks_supply.find_path_files", lambda: packages.glob("*.pth"))
    return packages


def verdicts(said: Said) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in said.lines:
        found.setdefault(line["check"], set()).add(line["verdict"])
    return found


def test_before_the_first_start_nothing_is_wrong(governor: Governor, data_dir: Path) -> None:
    said = governor("doctor", "--json")
    assert said.code == 0, said.out
    assert verdicts(said)["database"] == {"note"}
    assert not data_dir.exists()


def test_a_current_database_is_healthy(ready: Governor) -> None:
    said = ready("doctor", "--json")
    assert said.code == 0, said.out
    assert verdicts(said)["database"] == {"ok"}
    assert verdicts(said)["drainer"] == {"ok"}


def test_it_can_be_read_by_people(ready: Governor) -> None:
    said = ready("doctor")
    assert said.code == 0
    assert "ok     database" in said.out


def test_a_broken_database_is_wrong(governor: Governor, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "governor.db").write_bytes(b"this is no database at all, whatever its name says" * 100)
    said = governor("doctor", "--json")
    assert said.code == 1
    assert verdicts(said)["database"] == {"wrong"}


def test_a_secret_that_others_can_read_is_wrong(ready: Governor, data_dir: Path) -> None:
    secret = data_dir / "secret.key"
    secret.write_text("x" * 64)
    secret.chmod(0o644)
    assert verdicts(ready("doctor", "--json"))["secrets"] == {"wrong"}
    secret.chmod(0o600)
    assert verdicts(ready("doctor", "--json"))["secrets"] == {"ok"}


def test_a_port_that_somebody_else_uses_is_wrong(ready: Governor, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("GOVERNOR_CONSOLE_PORT", str(taken.getsockname()[1]))
        said = ready("doctor", "--json")
    assert said.code == 1
    assert "GOVERNOR_CONSOLE_PORT" in said.out


def test_a_redis_that_does_not_answer_is_wrong(ready: Governor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVERNOR_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    said = ready("doctor", "--json")
    assert said.code == 1
    assert verdicts(said)["redis"] == {"wrong"}


@pytest.mark.parametrize("release", sorted(checks_supply.MALICIOUS))
def test_a_malicious_release_is_wrong(ready: Governor, monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setattr("backend.cli.checks_supply.version", lambda _: release)
    said = ready("doctor", "--json")
    assert said.code == 1
    assert verdicts(said)["litellm"] == {"wrong"}


def test_a_planted_path_file_that_runs_code_is_wrong(ready: Governor, clean_packages: Path) -> None:
    (clean_packages / "litellm_init.pth").write_text("import os; os.system('true')\n")
    said = ready("doctor", "--json")
    assert said.code == 1
    assert "litellm_init.pth" in said.out


def test_nothing_starts_beside_a_planted_path_file(ready: Governor, clean_packages: Path) -> None:
    (clean_packages / "litellm_init.pth").write_text("import os; os.system('true')\n")
    for command in ("up", "gateway", "demo"):
        said = ready(command)
        assert said.code == 1
        assert "Not started" in said.err


def test_path_files_of_packaging_tools_are_known(ready: Governor, clean_packages: Path) -> None:
    (clean_packages / "distutils-precedence.pth").write_text("import os\n")
    assert ready("doctor", "--json").code == 0


def test_a_path_file_that_only_names_a_folder_is_fine(ready: Governor, clean_packages: Path) -> None:
    (clean_packages / "folder.pth").write_text("/some/folder\n")
    assert ready("doctor", "--json").code == 0


def test_a_path_file_that_cannot_be_read_is_not_trusted(tmp_path: Path) -> None:
    assert runs_code(tmp_path / "gone.pth")
