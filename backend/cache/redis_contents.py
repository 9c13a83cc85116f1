"""What lies in the cache's Redis, for people: one walk over Governor's keys, entries read as they are met."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from backend.cache.contents import Amount, Selection, TopEntry
from backend.cache.exact import StoreUnavailable
from backend.cache.redis_store import HITS, PREFIX, RECIPES, read_stored
from backend.call import StoredAnswer

_SEMANTIC = b"governor:semantic:"
_ENTRY, _CHANGES = b":entry:", b":changes"
_AT_ONCE = 64
_PAGE = 1000
_PATIENCE_S = 5.0
_COUNT_WITHIN_S = 1.0
_LONG_S = 0.1
_PAUSE_RATIO = 20


@dataclass(slots=True, frozen=True)
class _Met:
    """An entry of the semantic layer: where it is and whose it is."""

    namespace: str
    key: bytes
    id: str


class RedisContents:
    """The entries in Redis. Values that Governor did not write so are passed over: nobody is served them either."""

    place = "redis"

    def __init__(self, url: str) -> None:
        self._url = url
        self._counted = Amount(None, None)
        self._count_again_at = 0.0

    def peek(self, key: bytes) -> StoredAnswer | None:
        """The live entry of the exact layer under a key."""
        with self._asking() as redis:
            raw: Any = redis.get(PREFIX + key)
        return read_stored(raw, key) if raw else None

    def count(self) -> Amount:
        """How many entries there are; unknown after a second of walking. A long walk is not repeated soon."""
        began = time.monotonic()
        if began >= self._count_again_at:
            self._counted = self._walk(began + _COUNT_WITHIN_S)
            took_s = time.monotonic() - began
            self._count_again_at = began + (_PAUSE_RATIO * took_s if took_s > _LONG_S else 0.0)
        return self._counted

    def list_top(self, selection: Selection, limit: int) -> list[TopEntry]:
        """Those that were ever served, by how often; then others, until there are enough."""
        with self._asking() as redis:
            hits = _read_hits(redis)
            served = sorted(hits, key=lambda key: -hits[key])
            top = list(islice(_read_exact(redis, served, selection), limit))
            if len(top) < limit:
                keys = (key.removeprefix(PREFIX) for key in redis.scan_iter(PREFIX + b"*", _PAGE))
                others = _read_exact(redis, (key for key in keys if key not in hits), selection)
                top += islice(others, limit - len(top))
            questions = _read_questions(redis, top)
        return [_describe(each, hits.get(each.key, 0), questions.get(each.call_id)) for each in top]

    def purge(self, selection: Selection, *, dry_run: bool) -> Amount:
        """Delete what is meant, and tell the workers that keep an index of their own."""
        with self._asking() as redis:
            semantic = list(dict.fromkeys(_find_semantic(redis, selection)))  # a walk may meet a key twice
            exact = list(dict.fromkeys(_find_exact(redis, selection, semantic)))
            if not dry_run:
                for start in range(0, len(exact), _AT_ONCE):
                    redis.unlink(
                        *(name + key for key in exact[start : start + _AT_ONCE] for name in (PREFIX, HITS, RECIPES))
                    )
                _delete_semantic(redis, semantic)
        return Amount(len(exact), len(semantic))

    def _walk(self, ends_at: float) -> Amount:
        exact = semantic = 0
        with self._asking() as redis:
            for key in redis.scan_iter(b"governor:*", _PAGE):
                exact += key.startswith(PREFIX)
                semantic += key.startswith(_SEMANTIC) and _ENTRY in key
                if time.monotonic() > ends_at:
                    return Amount(None, None)
        return Amount(exact, semantic)

    @contextmanager
    def _asking(self) -> Iterator[Redis]:
        """A connection of its own, so that no call ever waits for a walk."""
        redis = Redis.from_url(self._url, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S, protocol=2)
        try:
            yield redis
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"redis: {type(error).__name__}") from None
        finally:
            redis.close()


def _read_hits(redis: Redis) -> dict[bytes, int]:
    """How often each entry was served, by its key."""
    hits: dict[bytes, int] = {}
    for keys in _pages(redis.scan_iter(HITS + b"*", _PAGE)):
        counts: Any = redis.mget(keys)
        pairs = zip(keys, counts, strict=True)
        hits |= {key.removeprefix(HITS): int(count) for key, count in pairs if count and count.isdigit()}
    return hits


def _read_exact(redis: Redis, keys: Iterable[bytes], selection: Selection) -> Iterator[StoredAnswer]:
    """The entries under these keys that are meant."""
    for page in _pages(keys):
        raws: Any = redis.mget([PREFIX + key for key in page])
        for key, raw in zip(page, raws, strict=True):
            stored = read_stored(raw, key) if raw else None
            if stored is not None and _means(selection, stored, stored.call_id):
                yield stored


def _find_exact(redis: Redis, selection: Selection, semantic: list[_Met]) -> Iterator[bytes]:
    """Keys of the entries that are meant; those of a partition are known from the semantic layer."""
    if selection.partition is not None:
        selection = replace(selection, partition=None, call_ids=frozenset(met.id for met in semantic))
    keys = (key.removeprefix(PREFIX) for key in redis.scan_iter(PREFIX + b"*", _PAGE))
    return (stored.key for stored in _read_exact(redis, keys, selection))


def _find_semantic(redis: Redis, selection: Selection) -> Iterator[_Met]:
    keys = (key for key in redis.scan_iter(_SEMANTIC + b"*", _PAGE) if _ENTRY in key)
    for page in _pages(keys):
        for key, entry in zip(page, _read_semantic(redis, page), strict=True):
            same_place = entry is not None and selection.partition in (None, entry.partition)
            if same_place and _means(selection, entry, entry.id):
                namespace = key.removeprefix(_SEMANTIC).partition(_ENTRY)[0].decode()
                yield _Met(namespace, key, entry.id)


def _read_semantic(redis: Redis, keys: Iterable[bytes]) -> list[Any]:
    """The entries under these keys, None for what is none."""
    from backend.cache.semantic.packing import unpack_entry  # noqa: PLC0415 - only where there is such an entry

    with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hget(key.decode(), "entry")
        return [unpack_entry(raw) for raw in pipe.execute(raise_on_error=False)]


def _delete_semantic(redis: Redis, met: list[_Met]) -> None:
    from backend.cache.semantic.redis_link import Names, label_of, pack_labels  # noqa: PLC0415 - as above
    from backend.cache.semantic.redis_writer import MOST_CHANGES, REMOVED  # noqa: PLC0415

    by_namespace: defaultdict[str, list[_Met]] = defaultdict(list)
    for each in met:
        by_namespace[each.namespace].append(each)
    for namespace, entries in by_namespace.items():
        changes = Names(namespace).changes
        for page in _pages(entries):
            labels = pack_labels([label_of(each.id) for each in page])
            with redis.pipeline(transaction=True) as pipe:
                pipe.unlink(*(each.key for each in page))
                pipe.xadd(changes, {REMOVED: labels}, maxlen=MOST_CHANGES, approximate=True)
                pipe.execute()


def _read_questions(redis: Redis, top: list[StoredAnswer]) -> dict[str, str]:
    """What was asked, by call id, where the semantic layer knows it."""
    streams = [key for key in redis.scan_iter(_SEMANTIC + b"*" + _CHANGES, _PAGE) if top]
    if not streams:
        return {}
    from backend.cache.semantic.redis_link import Names, label_of  # noqa: PLC0415 - as above

    spaces = [Names(key.removeprefix(_SEMANTIC).removesuffix(_CHANGES).decode()) for key in streams]
    keys = [names.key(label_of(each.call_id)).encode() for names in spaces for each in top]
    return {entry.id: entry.question for entry in _read_semantic(redis, keys) if entry is not None}


def _means(selection: Selection, entry: Any, call_id: str) -> bool:
    """Whether an entry of either layer meets the conditions, but for the partition."""
    wanted = selection.tenant in (None, entry.tenant) and selection.model in (None, entry.model)
    named = selection.call_ids is None or call_id in selection.call_ids
    return wanted and named and (selection.stored_before is None or entry.stored_at < selection.stored_before)


def _describe(stored: StoredAnswer, hits: int, question: str | None) -> TopEntry:
    times = stored.stored_at, stored.expires_at
    return TopEntry(stored.call_id, stored.tenant, stored.model, hits, *times, stored.cost_nusd, question)


def _pages(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of so many that one round trip bears them."""
    page: list[Any] = []
    for item in items:
        page.append(item)
        if len(page) == _AT_ONCE:
            yield page
            page = []
    if page:
        yield page
