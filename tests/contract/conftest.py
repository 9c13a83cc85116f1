"""A running gateway before a scripted upstream and the simulated provider, for every test of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.place import ContractUpstream, Place
from tests.contract.speakers import NAMES, Speaker, start_speaker
from tests.faults.rig import PATIENT, Rig

SIMULATION = {"ttft_ms": 0, "tokens_per_s": 1_000_000}
SIMULATED = ("gpt-4o-mini", "text-embedding-3-small")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The gateway that every test of the contract talks to."""
    rig = Rig(tmp_path_factory.mktemp("contract"))
    rig.upstream = ContractUpstream(rig.folder)
    simulated = [
        {"name": f"simulated-{model}", "model": model, "provider": "simulated", "simulation": SIMULATION}
        for model in SIMULATED
    ]
    nobody = rig.deployment(name="nobody", model="unreachable", base_url="http://127.0.0.1:9/v1")
    document: dict[str, Any] = {
        "deployments": [rig.deployment(), nobody, *simulated],
        "upstream": PATIENT | {"idle_timeout_s": 1.5, "first_token_timeout_s": 5, "total_timeout_s": 20},
        "gateway": {"max_body_mb": 2, "body_timeout_s": 2, "write_stall_s": 5},
    }
    try:
        rig.start(document)
        found = Place(rig)
        yield found
        found.engine.dispose()
        assert rig.gateway.stop() == 0, rig.gateway.log.read_text(errors="replace")[-3000:]
    finally:
        rig.remove()


@pytest.fixture(scope="session", params=NAMES)
def speaker(request: pytest.FixtureRequest, place: Place) -> Iterator[Speaker]:
    """Every client a user may have."""
    found = start_speaker(request.param, place.url)
    yield found
    found.close()
