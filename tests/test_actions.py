from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from backend import actions
from backend.actions import Change, KeyDraft, PriceStatement, Review, Signature
from backend.call import Entry
from backend.errors import BadRequest, Conflict, NotFound, StaleSettings
from backend.pricing.prices import PriceBook
from db.cache_labels import Label, add_labels, read_labels, row_of
from db.calls import close_calls
from db.columns import CALL_COLUMNS
from db.engine import Engine, reading, writing
from db.prices import load_prices
from db.revisions import read_marks
from tests.ledger.samples import make_label

ANA = Signature("ana", "contract of May")
MAY = 1_800_000_000_000


def book(engine: Engine) -> PriceBook:
    with reading(engine) as connection:
        return PriceBook(load_prices(connection))


def rate(engine: Engine, at_ms: int) -> int | None:
    price = book(engine).price_at("gpt-4o", "openai", at_ms)
    return price.rates.input_nusd_per_mtok if price else None


def test_a_stated_price_holds_from_its_moment_on(engine: Engine) -> None:
    statement = PriceStatement("gpt-4o", {"input": Decimal("2.5"), "output": "10"}, "openai", MAY)
    price_id = actions.set_price(engine, statement, ANA)
    assert [rate(engine, MAY - 1), rate(engine, MAY)] == [None, 2_500_000_000]
    price = book(engine).price_by_id(price_id)
    assert price is not None
    assert price.rates.output_nusd_per_mtok == 10_000_000_000
    assert read_marks(engine)["prices"] == 1


def test_a_price_withdrawn_holds_no_longer(engine: Engine) -> None:
    actions.set_price(engine, PriceStatement("gpt-4o", {"input": 1}, "openai", MAY), ANA)
    actions.set_price(engine, PriceStatement("gpt-4o", None, "openai", MAY + 10), ANA)
    assert [rate(engine, MAY + 9), rate(engine, MAY + 10)] == [1_000_000_000, None]


def test_the_same_price_is_not_stated_twice(engine: Engine) -> None:
    statement = PriceStatement("gpt-4o", {"input": 1}, effective_from=MAY)
    actions.set_price(engine, statement, ANA)
    with pytest.raises(Conflict):
        actions.set_price(engine, statement, ANA)
    assert read_marks(engine)["prices"] == 1
    assert len(actions.list_changes(engine)) == 1


@pytest.mark.parametrize(
    "dollars",
    [{"input": 0.15}, {"input": "cheap"}, {"input": "-1"}, {"colour": 1}, {"input": "1e-12"}, {"input": "NaN"}],
)
def test_a_price_that_makes_no_sense_is_refused(sqlite: Engine, dollars: Any) -> None:
    with pytest.raises(BadRequest, match="makes no sense"):
        actions.set_price(sqlite, PriceStatement("gpt-4o", dollars), ANA)
    assert actions.list_changes(sqlite) == []


def test_a_price_needs_a_model(sqlite: Engine) -> None:
    with pytest.raises(BadRequest) as caught:
        actions.set_price(sqlite, PriceStatement(" ", {"input": 1}), ANA)
    assert caught.value.param == "model"


def test_the_history_holds_every_act_newest_first(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1, 100))
    monkeypatch.setattr("time.time_ns", lambda: next(clock) * 1_000_000)
    actions.apply_settings(engine, Change({"cache": {"ttl_s": 5}}, ANA))
    key = actions.create_key(engine, b"secret", KeyDraft("search"), Signature("bo", "new service"))
    actions.set_price(engine, PriceStatement("gpt-4o", {"input": 1}, "openai"), ANA)
    actions.revoke_key(engine, key.id, Signature("bo", "leaked"))
    actions.rollback_settings(engine, 0, ANA)
    found = actions.list_changes(engine)
    assert [(act.action, act.subject, act.actor) for act in found] == [
        ("settings.save", "settings version 2", "ana"),
        ("key.revoke", f"gov-{key.id}", "bo"),
        ("price.set", "openai/gpt-4o", "ana"),
        ("key.create", f"gov-{key.id}", "bo"),
        ("settings.save", "settings version 1", "ana"),
    ]
    assert [act.at for act in found] == sorted((act.at for act in found), reverse=True)
    assert [act.version for act in found] == [2, None, None, None, 1]
    assert found[0].changes == [{"path": "cache.ttl_s", "before": 5, "after": 3600}]
    assert found[1].reason == "leaked"


def test_the_history_is_read_page_by_page(sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1, 100))
    monkeypatch.setattr("time.time_ns", lambda: next(clock) * 1_000_000)
    for number in range(1, 4):
        actions.apply_settings(sqlite, Change({"cache": {"ttl_s": number}}, ANA))
        actions.set_price(sqlite, PriceStatement(f"m{number}", {"input": 1}), ANA)
    everything = actions.list_changes(sqlite)
    first = actions.list_changes(sqlite, limit=4)
    rest = actions.list_changes(sqlite, limit=4, before=first[-1].at)
    assert [*first, *rest] == everything
    assert len(everything) == 6


def test_an_act_that_fails_leaves_no_trace(sqlite: Engine) -> None:
    actions.apply_settings(sqlite, Change({"cache": {"ttl_s": 1}}, ANA, based_on=0))
    with pytest.raises(StaleSettings):
        actions.save_settings(sqlite, Change({"cache": {"ttl_s": 2}}, ANA, based_on=0))
    assert [act.version for act in actions.list_changes(sqlite)] == [1]


def keep_call(engine: Engine, **values: Any) -> str:
    entry = Entry("w", "chat.completions", state="settled", status="ok", tenant="t", model="m", **values)
    with writing(engine) as connection:
        close_calls(connection, [tuple(getattr(entry, name) for name in CALL_COLUMNS)])
    return entry.id


def labels_of(engine: Engine) -> list[Label]:
    with reading(engine) as connection:
        return read_labels(connection)


def test_a_review_of_a_served_hit_knows_what_was_compared(engine: Engine) -> None:
    call_id = keep_call(
        engine, cache_kind="semantic", similarity=0.95, cache_probability=0.991, source_call_id="call-0"
    )
    with writing(engine) as connection:
        add_labels(connection, [row_of(make_label("call-9"), 1)])
    actions.review_hit(engine, Review(call_id, same=False, note="another city"), ANA)
    label = labels_of(engine)[-1]
    assert (label.id, label.same, label.source, label.actor, label.note) == (
        call_id,
        False,
        "human",
        "ana",
        "another city",
    )
    assert (label.tenant, label.model, label.similarity, label.probability) == ("t", "m", 0.95, 0.991)
    assert (label.partition, label.verifier, label.propensity) == ("0f" * 16, "default-1", 0.0)
    (act,) = actions.list_changes(engine)
    assert (act.action, act.subject, act.changes) == (
        "cache.review",
        call_id,
        {"same": False, "note": "another city"},
    )
    assert read_marks(engine)["cache_labels"] == 1


def test_a_review_of_a_verified_call_keeps_how_it_was_picked(sqlite: Engine) -> None:
    with writing(sqlite) as connection:
        add_labels(connection, [row_of(make_label("call-1", propensity=0.05), 1)])
    for same in (False, True):
        actions.review_hit(sqlite, Review("call-1", same=same), ANA)
    machine, human = sorted(labels_of(sqlite), key=lambda label: label.source == "human")
    assert (machine.source, machine.same) == ("exact", True)
    assert (human.same, human.propensity, human.partition) == (True, 0.05, machine.partition)


def test_only_a_call_that_was_compared_can_be_reviewed(sqlite: Engine) -> None:
    with pytest.raises(NotFound):
        actions.review_hit(sqlite, Review("nobody", same=True), ANA)
    with pytest.raises(BadRequest, match="not compared"):
        actions.review_hit(sqlite, Review(keep_call(sqlite, cache_kind="miss"), same=True), ANA)
    assert labels_of(sqlite) == []
    assert actions.list_changes(sqlite) == []
