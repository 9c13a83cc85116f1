"""What the doctor looks at in what runs: ports, database, Redis, the gateway's readiness, the drainer's lag."""

from __future__ import annotations

from collections.abc import Iterator

from backend.cli.checks import Finding
from backend.cli.database import opened, show_database, sqlite_path
from backend.cli.folder import find_owner
from backend.cli.health import ask
from backend.cli.listening import Address, require_free
from backend.cli.output import CommandFailed
from backend.environment import Environment

MOST_LAG_MS = 30_000
_PATIENCE_S = 2.0


def check_ports(environment: Environment) -> Iterator[Finding]:
    """Whether the ports are free, or used by Governor itself."""
    gateway = Address(environment.gateway_host, environment.gateway_port, "GOVERNOR_GATEWAY_PORT")
    console = Address(environment.console_host, environment.console_port, "GOVERNOR_CONSOLE_PORT")
    for address, path in ((gateway, "/health/liveliness"), (console, "/_stcore/health")):
        try:
            require_free(address)
            yield Finding("ports", "ok", f"{address.port} is free")
        except CommandFailed as failure:
            ours = ask(address.host, address.port, path)
            if ours is not None and ours[0] == 200:
                yield Finding("ports", "ok", f"{address.port} is used by Governor")
            else:
                yield Finding("ports", "wrong", str(failure))


def check_database(environment: Environment) -> Iterator[Finding]:
    """Whether the database can be reached and has the schema of this release."""
    from db import schema

    where = show_database(environment)
    path = sqlite_path(environment)
    if path is not None and not path.exists():
        yield Finding("database", "note", f"{where} does not exist yet; `governor up` makes it")
        return
    try:
        with opened(environment) as engine:
            schema.check(engine)
        yield Finding("database", "ok", f"{where} at revision {schema.head()}")
    except Exception as error:  # noqa: BLE001 - whatever the driver says is the finding
        yield Finding("database", "wrong", f"{where}: {_one_line(error)}")


def check_redis(environment: Environment) -> Iterator[Finding]:
    """Whether Redis answers, where one is configured."""
    if environment.redis_url is None:
        yield Finding("redis", "ok", "not configured: the exact cache lives in SQLite")
        return
    import redis

    try:
        client = redis.Redis.from_url(
            environment.redis_url, socket_connect_timeout=_PATIENCE_S, socket_timeout=_PATIENCE_S
        )
        with client:
            release = client.info("server").get("redis_version")
        yield Finding("redis", "ok", f"Redis {release} answers")
    except (redis.RedisError, ValueError, OSError) as error:
        yield Finding("redis", "wrong", f"GOVERNOR_REDIS_URL: {_one_line(error)}")


def check_gateway(environment: Environment) -> Iterator[Finding]:
    """Whether a running gateway could bill a call now."""
    found = ask(environment.gateway_host, environment.gateway_port, "/health/readiness")
    if found is None:
        running = find_owner(environment.data_dir)
        if running is None:
            yield Finding("gateway", "note", "not running")
        else:
            yield Finding("gateway", "wrong", f"Governor runs (pid {running}), but its gateway does not answer")
    elif found[0] == 200:
        yield Finding("gateway", "ok", "ready")
    else:
        yield Finding("gateway", "wrong", f"not ready: {found[1][:300].decode(errors='replace')}")


def check_drainer(environment: Environment) -> Iterator[Finding]:
    """Whether records move from the spool to the database, and none were set aside."""
    from backend.reports.ledger import open_ledger
    from backend.reports.status import read_freshness

    path = sqlite_path(environment)
    if path is not None and not path.exists():
        return
    try:
        fresh = read_freshness(open_ledger(environment))
    except Exception as error:  # noqa: BLE001 - whatever the driver says is the finding
        yield Finding("drainer", "wrong", f"its state cannot be read: {_one_line(error)}")
        return
    slow = fresh.lag_ms > MOST_LAG_MS and find_owner(environment.data_dir) is not None
    text = f"{fresh.spool_bytes:,} bytes wait in the spool"
    yield Finding(
        "drainer", "wrong" if slow else "ok", f"{text}, the oldest for {fresh.lag_ms / 1000:.0f} s" if slow else text
    )
    if fresh.quarantined:
        yield Finding("drainer", "wrong", f"{fresh.quarantined} records are in quarantine")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(getattr(error, "orig", None) or error).split())
    return f"{type(error).__name__}: {text}"[:300]
