"""Local engines: what people want of them, what the keeper says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from db.tables_engine import engines


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One engine; times are epoch milliseconds, ``launched`` is JSON, ``pid_started_at`` in clock ticks."""

    name: str
    wanted: str
    request: str
    actor: str
    reason: str
    wanted_at: int
    state: str = "stopped"
    message: str | None = None
    keeper: str | None = None
    launched: str | None = None
    pid: int | None = None
    pid_started_at: int | None = None
    pid_space: str | None = None
    port: int | None = None
    state_at: int | None = None
    heartbeat_at: int | None = None
    ready_at: int | None = None
    due_at: int | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of an engine: running or stopped, and at once a request (restart, apply or none)."""

    name: str
    wanted: str
    request: str
    actor: str
    reason: str
    wanted_at: int


def list_engines(connection: Connection) -> Sequence[EngineRow]:
    """Every engine anybody ever wanted something of, by name."""
    return [EngineRow(**row) for row in connection.execute(select(engines).order_by(engines.c.name)).mappings()]


def read_engine(connection: Connection, name: str) -> EngineRow | None:
    """One engine, or None."""
    row = connection.execute(select(engines).where(engines.c.name == name)).mappings().one_or_none()
    return EngineRow(**row) if row else None


def write_wish(connection: Connection, wish: Wish) -> None:
    """Keep what is wanted; it replaces what was wanted before. Within ``writing`` only."""
    said = {name: getattr(wish, name) for name in wish.__slots__}
    found = connection.execute(update(engines).where(engines.c.name == wish.name).values(said))
    if not found.rowcount:
        connection.execute(insert(engines).values(said))


def clear_request(connection: Connection, name: str, wanted_at: int) -> None:
    """The request of that moment was carried out; one that came meanwhile stays."""
    same = (engines.c.name == name) & (engines.c.wanted_at == wanted_at)
    connection.execute(update(engines).where(same).values(request=""))


def write_state(connection: Connection, name: str, **state: Any) -> None:
    """What the keeper knows: any columns but those of the wish."""
    connection.execute(update(engines).where(engines.c.name == name).values(state))


def write_kept(connection: Connection, name: str, keeper: str, state: dict[str, Any]) -> None:
    """What this keeper knows of an engine that it has; one that another keeper took is left as that says."""
    own = engines.c.keeper.is_(None) | (engines.c.keeper == keeper)
    connection.execute(update(engines).where(engines.c.name == name, own).values(state))


def claim_engine(connection: Connection, name: str, keeper: str, now_ms: int, stale_before: int) -> bool:
    """Whether this keeper has it from now on: it had, nobody has, or who had it said nothing for long (epoch ms)."""
    free = engines.c.keeper.is_(None) | (engines.c.keeper == keeper) | (engines.c.heartbeat_at < stale_before)
    mine = update(engines).where(engines.c.name == name, free | engines.c.heartbeat_at.is_(None))
    return connection.execute(mine.values(keeper=keeper, heartbeat_at=now_ms)).rowcount == 1


def beat(connection: Connection, names: Sequence[str], keeper: str, now_ms: int) -> None:
    """Their keeper is alive; those that another one has by now are none of its."""
    own = engines.c.name.in_(names) & (engines.c.keeper == keeper)
    connection.execute(update(engines).where(own).values(heartbeat_at=now_ms))


def delete_engine(connection: Connection, name: str) -> None:
    """Forget an engine; its events stay."""
    connection.execute(delete(engines).where(engines.c.name == name))
