"""fixtures of the fault rig."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.upstream import Upstream, UpstreamJournal


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
