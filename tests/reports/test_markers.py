from __future__ import annotations

import pytest
from sqlalchemy import Engine

from backend.reports.filters import make_scope
from backend.reports.ledger import Ledger
from backend.reports.markers import read_markers, read_recent_changes
from db.audit import AuditRow, insert_act
from db.engine import writing
from db.settings import SettingsRow, insert_version
from tests.reports.ledgers import DAY_MS, END_AT, HOUR_MS

DAY = make_scope(END_AT - DAY_MS, END_AT)


@pytest.fixture
def changed(engine: Engine, empty: Ledger) -> Ledger:
    with writing(engine) as connection:
        for version, at in ((1, END_AT - 9 * DAY_MS), (2, END_AT - 5 * HOUR_MS)):
            insert_version(connection, SettingsRow(version, '{"cache":1}', "ada", f"try {version}", at, values="{}"))
        for number, action in enumerate(("key.create", "price.set", "cache.purge")):
            act = AuditRow(f"a{number}", END_AT - (4 - number) * HOUR_MS, "bob", action, "x", "why")
            insert_act(connection, act)
    return empty


def test_changes_in_the_range_are_marked_in_their_order(changed: Ledger) -> None:
    found = read_markers(changed, DAY)
    assert [(each.kind, each.who) for each in found] == [
        ("settings", "ada"),
        ("key", "bob"),
        ("price", "bob"),
        ("other", "bob"),
    ]
    assert [each.at for each in found] == sorted(each.at for each in found)
    assert (found[0].version, found[0].why, found[0].changes) == (2, "try 2", '{"cache":1}')


def test_recent_changes_do_not_depend_on_the_range(changed: Ledger) -> None:
    found = read_recent_changes(changed, 2)
    assert [each.kind for each in found] == ["other", "price"]
    assert [each.version for each in read_recent_changes(changed) if each.kind == "settings"] == [2, 1]


def test_nothing_changed_nothing_is_marked(empty: Ledger) -> None:
    assert read_markers(empty, DAY) == ()
    assert read_recent_changes(empty) == ()
