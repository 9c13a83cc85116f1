"""Headers that say what was decided and what it cost, exactly and harmlessly."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.call import Entry
from backend.gateway.reply import decision_headers

HARMLESS = re.compile(rb"[\x20-\x7e]*")


def headers(**fields: Any) -> dict[str, str]:
    entry = Entry("w", "chat.completions")
    for name, value in fields.items():
        setattr(entry, name, value)
    pairs = decision_headers(entry)
    assert len({name for name, _ in pairs}) == len(pairs)
    assert all(HARMLESS.fullmatch(value) for _, value in pairs)
    return {name.decode(): value.decode() for name, value in pairs}


@pytest.mark.parametrize(
    ("nusd", "dollars"),
    [
        (None, "unknown"),
        (0, "0"),
        (1, "0.000000001"),
        (1500, "0.0000015"),
        (10**9, "1"),
        (10**9 + 10, "1.00000001"),
        (123_000_000_000, "123"),
        (2**62, "4611686018.427387904"),
    ],
)
def test_money_is_exact(nusd: int | None, dollars: str) -> None:
    found = headers(cost_nusd=nusd, saved_nusd=nusd)
    assert found["x-governor-cost"] == found["x-litellm-response-cost"] == found["x-governor-saved"] == dollars
    assert found["x-governor-cost-nusd"] == ("unknown" if nusd is None else str(nusd))


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("exact", "HIT"),
        ("semantic", "SEMANTIC HIT"),
        ("miss", "MISS"),
        ("bypass", "BYPASS"),
        ("coalesced", "COALESCED"),
        (None, "BYPASS"),
    ],
)
def test_the_caches_verdict_is_told(kind: str | None, word: str) -> None:
    assert headers(cache_kind=kind)["x-governor-cache"] == word


def test_a_call_carries_its_id_under_every_name_people_know() -> None:
    found = headers(attempts=3, settings_version=7, deployment="d/1", model="m", rule="route:m", provider="openai")
    ids = {found[name] for name in ("x-request-id", "x-governor-call-id", "x-litellm-call-id")}
    assert len(ids) == 1
    assert (found["x-governor-attempts"], found["x-litellm-attempted-retries"]) == ("3", "2")
    assert (found["x-governor-settings-version"], found["x-governor-deployment"]) == ("7", "d/1")
    assert (found["x-litellm-model-id"], found["x-litellm-model-group"]) == ("d/1", "m")
    assert found["x-governor-rule"] == "route:m"
    assert "x-governor-simulated" not in found


def test_what_was_simulated_says_so() -> None:
    assert headers(deployment="d", provider="simulated")["x-governor-simulated"] == "true"


def test_what_is_not_known_is_not_said() -> None:
    found = headers()
    assert not {"age", "x-governor-similarity", "x-governor-source-call-id", "x-governor-rule"} & found.keys()
    known = headers(cache_age_s=5.9, similarity=0.98765, source_call_id="abc")
    assert (known["age"], known["x-governor-similarity"], known["x-governor-source-call-id"]) == ("5", "0.9877", "abc")


def test_overhead_is_what_the_upstream_did_not_take() -> None:
    found = headers(upstream_s=10_000.0)
    assert found["x-governor-overhead-ms"] == found["x-litellm-overhead-duration-ms"] == "0.000"
    assert float(headers(overhead_ms=1.23456)["x-governor-overhead-ms"]) == 1.235


@given(st.text(min_size=1, max_size=256).filter(str.isprintable))
def test_no_model_name_can_break_a_header(model: str) -> None:
    headers(model=model, rule=f"route:{model}")
