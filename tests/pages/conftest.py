"""The console as Streamlit's test harness runs it, on ledgers of three sizes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from backend.lock import alone
from db import schema
from db.engine import connect
from tests.fabricate import DAY_MS, Plan, fabricate
from tests.sources import ROOT

END_AT = 1_790_000_000_000
LAST_WEEK = "20260914T140000-20260921T140000"
"""The last seven days of a fabricated ledger, as the address says it."""

SIZES = {"empty": 0, "small": 3_000, "million": 1_000_000}

Visit = Callable[..., AppTest]


def build_ledger(folder: Path, calls: int) -> Path:
    """A data folder with that many calls over 90 days."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = connect(f"sqlite:///{folder / 'governor.db'}")
    schema.upgrade(engine)
    if calls:
        fabricate(engine, Plan(calls=calls, days=90, end_at=END_AT))
    engine.dispose()
    return folder


@pytest.fixture(scope="session")
def ledgers(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Callable[[str], Path]:
    """The data folder of a ledger by its size; the million is kept between runs while nothing that makes it changes."""
    made: dict[str, Path] = {}

    def find(size: str) -> Path:
        if size not in made:
            made[size] = _keep(pytestconfig) if size == "million" else tmp_path_factory.mktemp(size)
            if not (made[size] / "governor.db").exists():
                build_ledger(made[size], SIZES[size])
        return made[size]

    return find


def _keep(config: pytest.Config) -> Path:
    sources = [*(ROOT / "db").rglob("*.py"), ROOT / "tests/fabricate.py", ROOT / "tests/fabricated_calls.py"]
    mark = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources))).hexdigest()[:16]
    assert config.cache is not None
    kept = Path(config.cache.mkdir("ledgers"))
    folder = kept / f"{mark}-{DAY_MS}"
    with alone(kept / "building", Event()):  # of several processes that test, one builds
        for old in kept.iterdir():
            if old.is_dir() and old != folder:
                shutil.rmtree(old)
        if not folder.exists():
            build_ledger(kept / "draft", SIZES["million"]).rename(folder)
    return folder


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Visit:
    """Opens a page of the console on a data folder (a new, empty one by default)."""

    def open_page(path: str = "pages/observe/overview.py", folder: Path | None = None, **query: str) -> AppTest:
        monkeypatch.setenv("GOVERNOR_DATA_DIR", str(folder or build_ledger(tmp_path / "data", 0)))
        monkeypatch.setenv("GOVERNOR_GATEWAY_PORT", "1")  # nobody listens there
        st.cache_resource.clear()
        st.cache_data.clear()
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        app.run()
        app.switch_page(path)
        for name, value in query.items():
            app.query_params[name] = value
        return app.run()

    return open_page
