"""the table of behaviours: a name to the coroutine that plays it."""

from collections.abc import Awaitable, Callable

from tests.faults.upstream.exchange import Exchange

Behaviour = Callable[[Exchange], Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaves(name: str) -> Callable[[Behaviour], Behaviour]:
    """Register a behaviour under the name used in `fake/<name>`."""

    def register(behaviour: Behaviour) -> Behaviour:
        BEHAVIOURS[name] = behaviour
        return behaviour

    return register
