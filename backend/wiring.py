"""The composition root: environment in, Gateway out; the only file that names concrete classes of stages."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from backend.auth.ring import LiveKeys, require_keys_for
from backend.batch.desk import Desk
from backend.batch.files import Files
from backend.batch.jobs import Jobs
from backend.cache.contents import Contents, SQLiteContents
from backend.cache.exact import ExactCache
from backend.cache.layers import Cache, LazySemantic
from backend.cache.sqlite_refreshes import SQLiteRefreshes
from backend.cache.sqlite_store import SQLiteStore
from backend.environment import Environment
from backend.gateway.batch_api import BatchApi
from backend.gateway.batching import Batching
from backend.gateway.bill import Bill
from backend.gateway.control import Control
from backend.gateway.control_cache import CacheControl
from backend.gateway.gateway import Gateway
from backend.gateway.http import Application
from backend.gateway.own_calls import ask_embeddings, ask_judge
from backend.gateway.prefetching import Prefetching
from backend.gateway.server import Binding, Worker, serve
from backend.gateway.views import Views
from backend.ledger.ledger import Ledger
from backend.ledger.spool import Spool, worker_name
from backend.ledger.status import read_status
from backend.metrics.log import start_logging
from backend.metrics.metrics import Metrics
from backend.pricing.prices import PriceBook
from backend.routing.router import Router
from backend.settings.live import LiveSettings
from backend.upstream.clients import Clients
from backend.upstream.dispatch import Dispatch
from db.cache_labels import REVISION, Label, read_labels
from db.cache_verifiers import VerifierRow, add_verifier, read_verifiers
from db.engine import Engine, connect, reading, writing
from db.prices import load_prices

if TYPE_CHECKING:
    from backend.cache.prefetch import Refreshes
    from backend.cache.redis_store import RedisStore
    from backend.cache.semantic.built_in import SharedBuiltIn
    from backend.cache.semantic.cache import SemanticCache
    from backend.settings.knobs import CacheSettings


_TIDY_S = 1.0
"""What a drain leaves for letting go of batch jobs."""


def run_worker(
    environment: Environment, listener: socket.socket | None = None, on_ready: Callable[[], None] = lambda: None
) -> None:
    """One gateway worker as a process, on ``listener`` or on the environment's address; returns after its last call."""
    start_logging(environment.log_level)
    serve(lambda: build_worker(environment), Binding(environment, listener), on_ready)


def build_worker(environment: Environment) -> Worker:
    """Everything one worker needs; must run inside its event loop. Raises ``UnsafeBinding`` or a database error."""
    engine = connect(environment.database, pool_size=2)
    live = LiveSettings(engine)
    secret = environment.key_secret()
    keys = LiveKeys(engine, secret)
    require_keys_for(environment.gateway_host, keys.ring)
    prices = LivePrices(engine)
    live.on_change("keys", keys.reload)
    live.on_change("prices", prices.reload)

    ledger = build_ledger(environment, live)
    exact = ExactCache(store := build_store(environment))
    built_in = LateEmbedder(environment, live)
    clients = Clients(built_in.embed)
    bill = Bill(lambda: prices.book)
    upstream = Dispatch(clients.find, ledger, bill)
    gateway = Gateway(
        settings=live,
        keys=keys,
        cache=Cache(exact),
        routing=Router(upstream.health.resting),
        upstream=upstream,
        bill=bill,
        ledger=ledger,
        metrics=build_metrics(environment, ledger.worker),
    )
    semantic = LazySemantic(lambda: build_semantic(environment, engine, gateway, built_in))
    gateway.cache.semantic = semantic
    if live.current.settings.cache.semantic_enabled:
        semantic.begin(live.current.settings.cache)
    gateway.metrics.open_calls = lambda: gateway.open_calls
    admin_key = environment.admin_key.get_secret_value() if environment.admin_key else None
    entries = CacheControl(build_contents(environment), semantic, store.describe)
    batching, batches = build_batches(environment, gateway, engine)
    views = Views(gateway, Control(engine, secret, admin_key, keys, live, entries), batches)
    layers = (semantic.close, built_in.close, store.close)
    prefetching = Prefetching(gateway, build_refreshes(environment))
    closers = (clients.close, prefetching.close, *layers, ledger.close, gateway.metrics.withdraw, engine.dispose)
    return Worker(Application(gateway, views), gateway, live, prefetching, batching, closers)


def build_batches(environment: Environment, gateway: Gateway, engine: Engine) -> tuple[Batching, BatchApi]:
    """Batch jobs at work in this worker, and their routes before the same database."""
    live = gateway.settings
    desk = Desk(engine, gateway.ledger.worker, lease_ms=lambda: int(live.current.settings.batch.lease_s * 1000))
    batching = Batching(gateway, desk, environment.drain_deadline_s - _TIDY_S)
    return batching, BatchApi(gateway, Files(engine), Jobs(engine), batching.wake)


def build_store(environment: Environment) -> SQLiteStore | RedisStore:
    """Where cache entries live: Redis when there is one, else a file of this machine."""
    if not environment.redis_url:
        return SQLiteStore(environment.data_dir / "cache.db")
    from backend.cache.redis_store import RedisStore  # noqa: PLC0415 - importing it takes longer than a whole call

    return RedisStore(environment.redis_url)


def build_refreshes(environment: Environment) -> Refreshes:
    """The same entries as prefetch sees them."""
    if not environment.redis_url:
        return SQLiteRefreshes(environment.data_dir / "cache.db")
    from backend.cache.redis_refreshes import RedisRefreshes  # noqa: PLC0415 - as above

    return RedisRefreshes(environment.redis_url)


def build_contents(environment: Environment) -> Contents:
    """The same entries as people see them."""
    if not environment.redis_url:
        return SQLiteContents(environment.data_dir / "cache.db")
    from backend.cache.redis_contents import RedisContents  # noqa: PLC0415 - as above

    return RedisContents(environment.redis_url)


def build_semantic(environment: Environment, engine: Engine, gateway: Gateway, built_in: LateEmbedder) -> SemanticCache:
    """The semantic layer; imported here because its libraries take longer to load than the rest of a worker."""
    from backend.cache.semantic.cache import SemanticCache  # noqa: PLC0415
    from backend.cache.semantic.judge import Judge  # noqa: PLC0415
    from backend.cache.semantic.parts import Loader, Makers, load_parts  # noqa: PLC0415
    from backend.cache.semantic.verification import Verification  # noqa: PLC0415

    live, exact = gateway.settings, gateway.cache.exact
    makers = Makers(
        settings=lambda: live.current.settings.cache,
        embed=lambda deployment, texts: ask_embeddings(gateway, deployment, texts),
        records=LabelRecords(engine),
        built_in=built_in.make(),
        entries=environment.data_dir / "cache.db",
        redis_url=environment.redis_url,
    )
    loader = Loader(lambda embedder: load_parts(embedder, makers))
    live.on_change(REVISION, loader.follow_labels)
    judge = Judge(lambda name, body, tenant: ask_judge(gateway, name, body, tenant))
    return SemanticCache(loader, exact, Verification(exact, gateway.ledger.label, judge))


class LabelRecords:
    """The labels and the refitted verifiers of the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read_labels(self, since_ms: int) -> list[Label]:
        """What came in since then."""
        with reading(self._engine) as connection:
            return read_labels(connection, stored_since=since_ms)

    def read_verifiers(self, space: str) -> list[VerifierRow]:
        """Every fit of a space."""
        with reading(self._engine) as connection:
            return read_verifiers(connection, space)

    def add_verifier(self, row: VerifierRow) -> None:
        """Keep a fit."""
        with writing(self._engine) as connection:
            add_verifier(connection, row)


class LateEmbedder:
    """The built-in embedder, imported when somebody first needs it: most workers embed nothing."""

    def __init__(self, environment: Environment, live: LiveSettings) -> None:
        self._folder = environment.data_dir / "models"
        self._live = live
        self._made: SharedBuiltIn | None = None
        self._making = threading.Lock()

    def make(self) -> SharedBuiltIn:
        """The embedder; the first time takes a second."""
        from backend.cache.semantic.built_in import SharedBuiltIn  # noqa: PLC0415

        with self._making:
            if self._made is None:
                self._made = SharedBuiltIn(
                    self._folder, lambda: self._knobs.batch_size, lambda: self._knobs.batch_wait_ms
                )
        return self._made

    @property
    def _knobs(self) -> CacheSettings:
        return self._live.current.settings.cache

    async def embed(self, texts: list[str]) -> tuple[list[list[float]], int]:
        """A vector for each text, and their tokens; raises ``EmbedderUnavailable`` or ``ImportError``."""
        return await (await asyncio.to_thread(self.make)).embed(texts)

    async def close(self) -> None:
        """Let go of the model, if there ever was one."""
        if self._made is not None:
            await self._made.close()


def build_ledger(environment: Environment, live: LiveSettings) -> Ledger:
    """The ledger of one worker, with a spool of its own."""
    spool = Spool(environment.spool_dir, worker_name())
    return Ledger(spool, lambda: live.current.settings.ledger)


def build_metrics(environment: Environment, worker: str) -> Metrics:
    """The metrics of one worker, published beside those of its siblings."""
    folder = environment.data_dir / "metrics"
    folder.mkdir(parents=True, exist_ok=True)
    return Metrics(folder, worker, lambda: read_status(environment.spool_dir))


class LivePrices:
    """The price book in force; reloaded when the price table changes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.book = read_book(engine)

    def reload(self) -> None:
        """Read the table again and swap the book."""
        self.book = read_book(self._engine)


def read_book(engine: Engine) -> PriceBook:
    """Every price of the table; ``governor db upgrade`` has put the bundled list prices there."""
    with reading(engine) as connection:
        return PriceBook(load_prices(connection))
