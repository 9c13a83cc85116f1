from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from backend.settings import live as live_module
from backend.settings import store
from backend.settings.document import UnreadableSettings
from backend.settings.live import LiveSettings
from backend.settings.signature import Signature
from backend.settings.store import Change
from db.engine import Engine, writing
from db.revisions import bump
from db.settings import SettingsRow, insert_version
from db.tables import settings_versions

ANA = Signature("ana", "a try")


def save_ttl(engine: Engine, ttl_s: int) -> None:
    store.apply_partial(engine, Change({"cache": {"ttl_s": ttl_s}}, ANA))


def plant(engine: Engine, version: int, document: Any) -> None:
    with writing(engine) as connection:
        insert_version(connection, SettingsRow(version, "[]", "eve", "by hand", 1, orjson.dumps(document).decode()))


def bump_noun(engine: Engine, noun: str) -> None:
    with writing(engine) as connection:
        bump(connection, noun)


def problem_of(live: LiveSettings) -> str | None:
    return live.problem


def test_a_new_version_is_in_force_after_one_look(engine: Engine) -> None:
    live = LiveSettings(engine)
    before = live.current
    save_ttl(engine, 5)
    live.refresh()
    assert (live.current.version, live.current.settings.cache.ttl_s) == (1, 5)
    assert (before.version, before.settings.cache.ttl_s) == (0, 3600)
    assert live.problem is None


def test_a_worker_that_starts_later_has_the_newest_version(engine: Engine) -> None:
    save_ttl(engine, 5)
    assert LiveSettings(engine).current.version == 1


def test_nothing_changed_means_the_same_snapshot(engine: Engine) -> None:
    live = LiveSettings(engine)
    before = live.current
    live.refresh()
    assert live.current is before


def test_a_bad_document_leaves_the_old_one_in_force_and_is_reported_once(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    save_ttl(engine, 5)
    live = LiveSettings(engine)
    plant(engine, 2, {"cache": {"ttl_s": -1}, "gateway": {"max_hops": 9}})
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            live.refresh()
    assert (live.current.version, live.current.settings.gateway.max_hops) == (1, 2)
    assert live.problem is not None
    assert live.problem.startswith("version 1 stays in force: version 2: cache.ttl_s")
    assert len(caplog.records) == 1


def test_a_good_version_after_a_bad_one_clears_the_problem(engine: Engine) -> None:
    live = LiveSettings(engine)
    plant(engine, 1, [])
    live.refresh()
    assert problem_of(live) is not None
    plant(engine, 2, {"cache": {"ttl_s": 7}})
    live.refresh()
    assert (live.current.version, problem_of(live)) == (2, None)


def test_workers_started_before_and_after_a_bad_document_agree(engine: Engine) -> None:
    save_ttl(engine, 5)
    old = LiveSettings(engine)
    plant(engine, 2, {"cache": {"ttl_s": -1}})
    old.refresh()
    new = LiveSettings(engine)
    assert old.current == new.current
    assert new.problem is not None


def test_a_start_without_a_readable_version_is_refused(engine: Engine) -> None:
    plant(engine, 1, {"cache": {"ttl_s": -1}})
    with pytest.raises(UnreadableSettings, match="version 1"):
        LiveSettings(engine)


def test_a_database_that_lost_its_settings_does_not_put_the_defaults_in_force(engine: Engine) -> None:
    save_ttl(engine, 5)
    live = LiveSettings(engine)
    with writing(engine) as connection:
        connection.execute(settings_versions.delete())
    live.refresh()
    assert live.current.settings.cache.ttl_s == 5
    assert problem_of(live) == "version 1 stays in force: the database has lost every version"


def test_while_the_database_is_away_the_last_good_stays_and_after_it_the_new_comes(
    sqlite: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = LiveSettings(sqlite)
    save_ttl(sqlite, 5)
    database, aside = tmp_path / "governor.db", tmp_path / "aside.db"
    database.rename(aside)
    database.mkdir()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            live.refresh()
    assert live.current.version == 0
    assert problem_of(live) == "the database does not answer: OperationalError"
    assert len(caplog.records) == 1
    database.rmdir()
    aside.rename(database)
    live.refresh()
    assert (live.current.version, problem_of(live)) == (1, None)


def test_a_change_of_keys_or_prices_calls_who_asked_for_it_once(engine: Engine) -> None:
    live, called = LiveSettings(engine), list[str]()
    for noun in ("keys", "prices", "settings"):
        live.on_change(noun, lambda noun=noun: called.append(noun))  # type: ignore[misc]
    live.refresh()
    assert called == []
    bump_noun(engine, "keys")
    live.refresh()
    live.refresh()
    assert called == ["keys"]
    bump_noun(engine, "prices")
    bump_noun(engine, "prices")
    save_ttl(engine, 5)
    live.refresh()
    assert sorted(called) == ["keys", "prices", "settings"]


def test_reactions_to_settings_see_the_new_ones(engine: Engine) -> None:
    live, seen = LiveSettings(engine), list[int]()
    live.on_change("settings", lambda: seen.append(live.current.version))
    save_ttl(engine, 5)
    live.refresh()
    assert seen == [1]


def test_a_reaction_that_fails_is_tried_again_and_stops_no_other(engine: Engine) -> None:
    live, tries, prices = LiveSettings(engine), list[int](), list[int]()

    def fail_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("keys are being moved")

    live.on_change("keys", fail_once)
    live.on_change("prices", lambda: prices.append(1))
    bump_noun(engine, "keys")
    bump_noun(engine, "prices")
    live.refresh()
    assert (tries, prices) == ([1], [1])
    assert problem_of(live) == "keys could not be reloaded: keys are being moved"
    live.refresh()
    live.refresh()
    assert (tries, prices, problem_of(live)) == ([1, 1], [1], None)


async def test_watching_follows_a_change_without_being_asked(sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "POLL_S", 0.001)
    live, loop, noticed = LiveSettings(sqlite), asyncio.get_running_loop(), asyncio.Event()
    live.on_change("settings", lambda: loop.call_soon_threadsafe(noticed.set))
    watching = asyncio.create_task(live.watch())
    await asyncio.to_thread(save_ttl, sqlite, 5)
    await asyncio.wait_for(noticed.wait(), 30)
    assert live.current.version == 1
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


def test_readers_always_see_one_whole_version_while_it_changes(sqlite: Engine) -> None:
    live, torn, done = LiveSettings(sqlite), list[object](), threading.Event()

    def read() -> None:
        while not done.is_set():
            taken = live.current
            if taken.version and taken.settings.cache.ttl_s != taken.settings.gateway.max_depth:
                torn.append(taken)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(10, 30):
        store.apply_partial(sqlite, Change({"cache": {"ttl_s": number}, "gateway": {"max_depth": number}}, ANA))
        live.refresh()
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []
    assert live.current.version == 20
