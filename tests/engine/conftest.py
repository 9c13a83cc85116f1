from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.engine import change, wishes
from backend.engine.launch import PYTHON_VARIABLE
from tests.engine.houses import BY, KeptHouse, write_fake_python


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeptHouse]:
    """A house whose engine small is ready, on a machine with room for one more."""
    monkeypatch.setenv(PYTHON_VARIABLE, str(write_fake_python(tmp_path)))
    monkeypatch.setattr(change, "has_room_for_both", lambda *_: True)
    with KeptHouse(tmp_path) as house:
        house.configure({"name": "small", "usd_per_gpu_hour": 3.6})
        wishes.start_engine(house.engine, "small", BY)
        house.start_keeper()
        house.wait_for_state("ready")
        yield house
