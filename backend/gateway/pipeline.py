"""The path of one call, top to bottom. Read this first.

One line is one stage; one stage is one package of the same name. Whatever happens to the call, exactly one ledger
entry is closed, and nothing in the ``finally`` that closes it may await: a client that hangs up cancels the call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from backend.cache.exact import replay
from backend.call import Arrival, CacheResult, Chunk, Chunks, Entry
from backend.errors import as_gateway_error
from backend.gateway.gateway import Gateway
from backend.gateway.observe import end_badly, end_well, observe, settle
from backend.gateway.wire import read_call


async def answer(arrival: Arrival, entry: Entry, gateway: Gateway) -> AsyncGenerator[Chunk]:
    """The call's chunks; raises ``GatewayError`` before the first one or in the middle of a stream."""
    current = gateway.settings.current  # one version for the whole call
    settings, entry.settings_version = current.settings, current.version
    call, found = None, CacheResult("bypass")
    try:
        gateway.admit(settings.gateway)
        identity = gateway.identify(arrival, entry)
        call = read_call(arrival, settings.gateway)
        gateway.authorize(identity, call, entry)
        gateway.attribute(entry, identity, arrival, call)

        found = await gateway.cache.look_up(call, identity.tenant, settings.cache)
        gateway.remember(entry, call, found, settings)
        if found.stored is not None:
            chunks: Chunks = replay(call, entry, found, settings.cache)
        elif (flight := gateway.join(entry)) is not None:
            chunks = gateway.follow(flight, entry)
        else:
            route = gateway.routing.choose(call, settings)
            chunks = gateway.send(call, route, entry, settings)

        async with aclosing(chunks) as source:
            async for chunk in source:
                observe(entry, call, chunk)
                yield chunk
        end_well(entry, call)
    except Exception as fault:  # noqa: BLE001 - whatever it is, the caller gets a plain error and the ledger a row
        error = as_gateway_error(fault)
        end_badly(entry, error)
        raise error from None
    finally:
        settle(entry, call, gateway.bill)
        gateway.keep(call, found, entry, settings.cache)
        gateway.capture(entry, arrival.body, settings)
        gateway.ledger.record(entry)
        gateway.metrics.observe(entry)
