"""Retries are bounded and paid once each; nothing is retried or mixed once the caller has seen output."""

import openai
import pytest

from tests.faults.clients import Ask
from tests.faults.rig import PATIENT, Rig

pytestmark = pytest.mark.faults

# behaviour: (how it ends for the caller, attempts the upstream sees with at most three allowed)
ATTEMPTS = {
    "ok": ("ok", 1),
    "500-then-ok:1": ("ok", 2),
    "500-then-ok:2": ("ok", 3),
    "500-then-ok:9": ("error", 3),
    "429-with-retry-after-ms:5": ("error", 3),
    "429-with-retry-after:60": ("error", 1),
    "status:503": ("error", 3),
    "400": ("error", 1),
    "status:404": ("error", None),
    "401": ("error", None),
    "accept-then-reset": ("error", 1),
    "die-at-byte-n:10": ("error", 1),
    "200-json-error": ("error", None),
    "garbage-json": ("error", 1),
    "wrong-content-type": ("error", 1),
    "gzip-bomb:10": ("error", 1),
    "error-chunk:0": ("error", None),
    "error-chunk:3": ("error", None),
    "error-chunk:3:done": ("error", None),
    "json-tail:3": ("error", None),
    "huge-body:2": ("ok", 1),
}


async def test_attempts_are_bounded_and_each_has_a_row(shared: Rig) -> None:
    for name, (end, attempts) in ATTEMPTS.items():
        streams = (True,) if name.startswith(("error-chunk", "json-tail")) else (True, False)
        for stream in streams:
            outcome = await shared.place(Ask(f"fake/{name}", stream=stream))
            seen = len(shared.acceptances(outcome))
            assert (outcome.end, outcome.done) == (end, end == "ok" and stream), (name, stream, outcome)
            assert seen == attempts or (attempts is None and 1 <= seen <= 3), (name, stream, seen)


async def test_stock_clients_multiply_attempts_only_by_their_own_retries(shared: Rig) -> None:
    url = f"http://127.0.0.1:{shared.gateway.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=2) as client:
        for model, most in (("fake/429-with-retry-after-ms:5@sdk", 9), ("fake/400@sdk", 1)):
            with pytest.raises(openai.APIStatusError):
                await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
            assert 1 <= len([record for record in shared.acceptances() if record["model"] == model]) <= most


FAILING_FIRST = [f"die-at-byte-n:{offset}" for offset in range(0, 1400, 90)] + ["stall-after-n:0", "stall-after-n:3"]
FAILING_FIRST += [f"error-chunk:{events}" for events in range(5)] + [
    "rst-at-byte-n:500",
    "status:503",
    "accept-then-reset",
]


async def test_an_answer_never_mixes_two_deployments(rig: Rig) -> None:
    pairs = [
        [
            rig.deployment(name=f"first-{number}", model=f"mixed-{number}", upstream_model=f"fake/{failing}@3"),
            rig.deployment(name=f"second-{number}", model=f"mixed-{number}", upstream_model="fake/echo", weight=0),
        ]
        for number, failing in enumerate(FAILING_FIRST)
    ]
    upstream = PATIENT | {"idle_timeout_s": 1, "first_token_timeout_s": 1}
    rig.start({"deployments": [deployment for pair in pairs for deployment in pair], "upstream": upstream})
    outcomes = await rig.place_all([Ask(f"mixed-{number}", stream=True) for number in range(len(pairs))])
    for outcome in outcomes:
        records = rig.acceptances(outcome)
        assert outcome.end == ("ok" if len(records) == 2 else "error"), outcome
        if len(records) == 2:
            assert outcome.content_sha == records[1]["content_sha"]
    assert {len(rig.acceptances(outcome)) for outcome in outcomes} == {1, 2}
    rig.close()


async def test_a_deployment_nobody_listens_on_costs_nothing(rig: Rig) -> None:
    rig.start(base_url="http://127.0.0.1:9/v1")
    outcome = await rig.place(Ask())
    assert (outcome.end, outcome.http_status) == ("error", 502)
    (call,) = rig.close().calls
    assert (call["state"], call["cost_nusd"] or 0) == ("failed", 0)
