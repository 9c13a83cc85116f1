from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from backend.errors import InvalidSettings, NotFound, StaleSettings
from backend.settings import store
from backend.settings.document import UnreadableSettings, dump
from backend.settings.knobs import Settings
from backend.settings.signature import Signature
from backend.settings.store import Change
from db.engine import Engine, writing
from db.settings import SettingsRow, insert_version
from tests.databases import open_sqlite

ANA = Signature("ana", "a try")
BO = Signature("bo", "another try")


def with_ttl(ttl_s: int) -> dict[str, Any]:
    return {"cache": {"ttl_s": ttl_s}}


def plant(engine: Engine, version: int, document: Any) -> None:
    """A row as another release, or a stray hand, would have written it."""
    with writing(engine) as connection:
        insert_version(connection, SettingsRow(version, "[]", "eve", "by hand", 1, orjson.dumps(document).decode()))


def test_before_the_first_save_the_defaults_are_version_0(engine: Engine) -> None:
    assert store.current(engine) == store.Version(0, Settings())
    assert store.get(engine, 0).settings == Settings()
    assert store.history(engine) == []


def test_a_save_is_one_version_with_who_why_and_what(engine: Engine) -> None:
    values = dump(Settings())
    values["cache"]["ttl_s"] = 60
    saved = store.save(engine, Change(values, ANA, based_on=0))
    assert saved == store.current(engine) == store.get(engine, 1)
    assert (saved.version, saved.actor, saved.reason, saved.settings.cache.ttl_s) == (1, "ana", "a try", 60)
    (line,) = store.history(engine)
    assert line.changes == [{"path": "cache.ttl_s", "before": 3600, "after": 60}]
    assert (line.version, line.actor, line.reason, line.created_at) == (1, "ana", "a try", saved.created_at)


def test_a_save_on_a_stale_version_is_refused_naming_who_came_first(engine: Engine) -> None:
    store.apply_partial(engine, Change(with_ttl(1), ANA, based_on=0))
    with pytest.raises(StaleSettings, match=r"since version 0: ana saved version 1 at \d{4}-.* UTC \(a try\)"):
        store.apply_partial(engine, Change(with_ttl(2), BO, based_on=0))
    assert store.current(engine).settings.cache.ttl_s == 1


def test_a_save_on_a_version_that_never_was_is_refused(engine: Engine) -> None:
    with pytest.raises(StaleSettings, match="no version 9"):
        store.save(engine, Change(Settings(), ANA, based_on=9))


def test_of_saves_at_once_on_one_version_exactly_one_wins(engine: Engine) -> None:
    start = threading.Barrier(6)

    def save(ttl_s: int) -> bool:
        start.wait()
        try:
            store.apply_partial(engine, Change(with_ttl(ttl_s), ANA, based_on=0))
        except StaleSettings:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(save, range(1, 7)))
    assert won.count(True) == 1
    assert store.current(engine).settings.cache.ttl_s == won.index(True) + 1
    assert [line.version for line in store.history(engine)] == [1]


def test_partial_changes_at_once_all_arrive(engine: Engine) -> None:
    sections = ({"cache": {"ttl_s": 5}}, {"gateway": {"max_hops": 9}}, {"ledger": {"capture": True}})
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda section: store.apply_partial(engine, Change(section, ANA)), sections))
    found = store.current(engine)
    assert (found.version, found.settings.cache.ttl_s, found.settings.gateway.max_hops) == (3, 5, 9)
    assert found.settings.ledger.capture


def test_a_section_given_replaces_that_section_whole_and_no_other(engine: Engine) -> None:
    store.apply_partial(engine, Change({"cache": {"ttl_s": 5, "coalesce": False}, "gateway": {"max_hops": 9}}, ANA))
    found = store.apply_partial(engine, Change(with_ttl(6), ANA)).settings
    assert (found.cache.ttl_s, found.cache.coalesce, found.gateway.max_hops) == (6, True, 9)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"cash": {}}, "cash: no such section; sections are gateway, cache"),
        ({"cache": {"ttl_s": "soon"}}, "cache.ttl_s"),
        ({"cache": None}, "cache"),
        ({"deployments": []} | {"routing": {"default_fallbacks": ["gone"]}}, "unknown deployments: gone"),
    ],
)
def test_a_bad_document_is_refused_whole(engine: Engine, document: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidSettings, match=complaint):
        store.apply_partial(engine, Change({"gateway": {"max_hops": 3}} | document, ANA))
    assert store.current(engine).version == 0


def test_a_save_that_changes_nothing_makes_no_version(engine: Engine) -> None:
    first = store.apply_partial(engine, Change(with_ttl(5), ANA))
    assert store.save(engine, Change(first.settings, BO, based_on=1)) == first
    assert [line.version for line in store.history(engine)] == [1]


def test_a_rollback_is_a_new_version_with_the_old_values(engine: Engine) -> None:
    for ttl_s in (5, 6):
        store.apply_partial(engine, Change(with_ttl(ttl_s), ANA))
    back = store.rollback(engine, 1, BO)
    assert (back.version, back.settings) == (3, store.get(engine, 1).settings)
    assert store.diff(engine, 1, 3).changes == []
    assert store.rollback(engine, 0, BO).settings == Settings()
    assert [line.version for line in store.history(engine, limit=2, before=4)] == [3, 2]


def test_a_version_that_never_was_can_neither_be_read_nor_restored(engine: Engine) -> None:
    for act in (lambda: store.get(engine, 3), lambda: store.rollback(engine, 3, ANA), lambda: store.diff(engine, 0, 3)):
        with pytest.raises(NotFound, match="no version 3"):
            act()


def test_the_difference_of_any_two_versions_is_shown_both_ways(engine: Engine) -> None:
    store.apply_partial(engine, Change(with_ttl(5), ANA))
    forth, back = store.diff(engine, 0, 1), store.diff(engine, 1, 0)
    assert forth.changes == [{"path": "cache.ttl_s", "before": 3600, "after": 5}]
    assert back.changes == [{"path": "cache.ttl_s", "before": 5, "after": 3600}]
    assert "-  ttl_s: 3600\n+  ttl_s: 5" in forth.text


TTLS = st.lists(st.integers(1, 4), min_size=1, max_size=6)


@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ttls=TTLS, data=st.data())
def test_whatever_was_saved_every_version_comes_back(tmp_path: Path, ttls: list[int], data: st.DataObject) -> None:
    with_versions = open_sqlite(tmp_path / os.urandom(8).hex())
    for ttl_s in ttls:
        store.apply_partial(with_versions, Change(with_ttl(ttl_s), ANA))
    newest = store.current(with_versions).version
    chosen = data.draw(st.integers(0, newest))
    wanted = store.get(with_versions, chosen).settings
    restored = store.rollback(with_versions, chosen, BO)
    assert restored.settings == store.current(with_versions).settings == wanted
    assert store.diff(with_versions, chosen, restored.version).changes == []
    with_versions.dispose()


def test_a_document_of_another_release_starts_with_a_note(engine: Engine) -> None:
    plant(engine, 1, dump(Settings()) | {"cache": {"ttl_s": 5, "sharpness": 1}})
    found = store.current(engine)
    assert (found.version, found.settings.cache.ttl_s) == (1, 5)
    assert found.notes == ("cache.sharpness is no longer a knob; ignored",)


def test_where_the_newest_cannot_be_read_the_last_good_is_in_force_and_can_be_edited(engine: Engine) -> None:
    store.apply_partial(engine, Change(with_ttl(5), ANA))
    plant(engine, 2, with_ttl(-1))
    found = store.current(engine)
    assert (found.version, found.settings.cache.ttl_s) == (1, 5)
    assert found.notes[0].startswith("version 2: cache.ttl_s")
    fixed = store.apply_partial(engine, Change(with_ttl(7), BO, based_on=1))
    assert (fixed.version, store.current(engine).settings.cache.ttl_s) == (3, 7)


def test_defaults_never_stand_in_for_settings_that_cannot_be_read(engine: Engine) -> None:
    plant(engine, 1, with_ttl(-1))
    with pytest.raises(UnreadableSettings, match=r"version 1: cache\.ttl_s"):
        store.current(engine)
    with pytest.raises(InvalidSettings, match="version 1 cannot be put in force"):
        store.rollback(engine, 1, ANA)
    with pytest.raises(InvalidSettings, match="deployments: needed, because no stored version can be read"):
        store.apply_partial(engine, Change(with_ttl(5), ANA))
    assert store.save(engine, Change(Settings(), ANA, based_on=1)).version == 2
    assert store.current(engine).settings == Settings()


SAVE_AND_TELL = """
import sys
from backend.settings import store
from backend.settings.signature import Signature
from db.engine import connect
saved = store.apply_partial(connect(sys.argv[1]), store.Change({"cache": {"ttl_s": 5}}, Signature("ana", "why")))
print(saved.version, flush=True)
sys.stdin.read()
"""


def test_a_save_that_was_answered_survives_kill_9(tmp_path: Path) -> None:
    engine = open_sqlite(tmp_path)
    command = [sys.executable, "-c", SAVE_AND_TELL, str(engine.url)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"1\n"
        child.send_signal(signal.SIGKILL)
    assert store.current(engine).settings.cache.ttl_s == 5
    engine.dispose()
