"""Calls that Governor makes for itself (embeddings, warm-ups, a judge): routed, priced and recorded as all others."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from backend.call import Call, Entry
from backend.errors import GatewayError, as_gateway_error
from backend.gateway.observe import end_badly, end_well, observe, settle

if TYPE_CHECKING:
    from backend.gateway.gateway import Gateway


async def place_call(gateway: Gateway, call: Call, origin: str, tenant: str = "default") -> dict[str, Any] | None:
    """The whole answer; raises ``GatewayError``. ``origin`` is one of those of the column of that name."""
    entry = open_own_entry(gateway, call, origin, tenant)
    await make_call(gateway, call, entry)
    return entry.answer


def open_own_entry(gateway: Gateway, call: Call, origin: str, tenant: str) -> Entry:
    """The entry of a call that is about to be made with ``make_call``, which closes it."""
    entry = gateway.open_entry(call.endpoint)
    entry.origin, entry.tenant, entry.model, entry.cache_kind = origin, tenant, call.model, "bypass"
    return entry


async def make_call(gateway: Gateway, call: Call, entry: Entry) -> None:
    """Make the call; its entry then has the answer and what it cost. Raises ``GatewayError``."""
    current = gateway.settings.current
    entry.settings_version = current.version
    try:
        gateway.admit(current.settings.gateway)
        chunks = gateway.send(call, gateway.routing.choose(call, current.settings), entry, current.settings)
        async with aclosing(chunks) as source:
            async for chunk in source:
                observe(entry, call, chunk)
        end_well(entry, call)
    except Exception as fault:  # noqa: BLE001 - whatever it is, the ledger gets a row
        error = as_gateway_error(fault)
        end_badly(entry, error)
        raise error from None
    finally:
        gateway.open_calls -= 1
        settle(entry, call, gateway.bill)
        gateway.ledger.record(entry)
        gateway.metrics.observe(entry)


async def ask_embeddings(gateway: Gateway, deployment: str, texts: list[str]) -> dict[str, Any]:
    """What a deployment that serves embeddings answers about these texts; raises ``GatewayError``."""
    known = {each.name: each for each in gateway.settings.current.settings.deployments}
    if deployment not in known:
        raise GatewayError(f"There is no deployment {deployment}.")
    model = known[deployment].upstream_model or known[deployment].model
    body = {"model": model, "input": texts, "encoding_format": "float"}
    call = Call("embeddings", body, model, stream=False, wants_usage=False, deployment=deployment)
    return await place_call(gateway, call, "embedding") or {}


async def ask_judge(gateway: Gateway, name: str, body: dict[str, Any], tenant: str) -> dict[str, Any] | None:
    """What a deployment, or else a model of that name, answers to a chat; raises ``GatewayError``."""
    known = {each.name: each for each in gateway.settings.current.settings.deployments}
    named = known.get(name)
    model = name if named is None else (named.upstream_model or named.model)
    deployment = None if named is None else name
    call = Call(
        "chat.completions", {"model": model, **body}, model, stream=False, wants_usage=False, deployment=deployment
    )
    return await place_call(gateway, call, "judge", tenant)
