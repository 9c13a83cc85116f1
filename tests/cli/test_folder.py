"""One Governor per data folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.cli.folder import claim_folder, find_owner
from backend.cli.output import CommandFailed


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert find_owner(folder) is None
    held = claim_folder(folder)
    assert find_owner(folder) == os.getpid()
    with pytest.raises(CommandFailed, match=rf"pid {os.getpid()}\).*GOVERNOR_DATA_DIR"):
        claim_folder(folder)
    os.close(held)
    assert find_owner(folder) is None
    os.close(claim_folder(folder))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandFailed, match="cannot be written"):
        claim_folder(tmp_path / "file" / "data")
