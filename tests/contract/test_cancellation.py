"""Clients that hang up: the upstream is let go at once, and the call is billed for what was delivered."""

from __future__ import annotations

import time

import pytest

from tests.contract.place import Place, chat
from tests.contract.speakers import Speaker

SLOW = "fake/slow-stream:20:10000"


def peer_left(place: Place, upstream_ids: set[str]) -> bool:
    records = [record for record in place.rig.acceptances() if record["id"] in upstream_ids]
    return bool(records) and all(record["end"] == "peer_left" for record in records)


@pytest.mark.parametrize("take", [1, 3])
def test_a_client_that_stops_reading_a_stream_ends_the_call(speaker: Speaker, place: Place, take: int) -> None:
    outcome = speaker.ask("stream", params=chat(SLOW), take=take)
    assert len(outcome.chunks) == take
    row = place.row(outcome.call_id, timeout_s=8)
    assert (row["status"], row["state"], row["usage_source"]) == ("cancelled", "estimated", "estimated")
    assert row["completion_tokens"] >= take - 1
    assert row["cost_nusd"] > 0
    ends_at = time.monotonic() + 5
    while not peer_left(place, {outcome.chunks[0]["id"]}):
        assert time.monotonic() < ends_at, "the upstream is still answering"
        time.sleep(0.02)


def test_a_client_that_read_everything_paid_for_everything(speaker: Speaker, place: Place) -> None:
    asked = chat("fake/ok:30", stream_options={"include_usage": True})
    outcome = speaker.ask("stream", params=asked, take=33)
    row = place.row(outcome.call_id)
    assert row["completion_tokens"] == 30
    assert row["usage_source"] == "provider"
