from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from backend.pricing.overrides import rates_from_dollars
from backend.pricing.prices import PriceBook, row_of
from backend.pricing.seed import new_rows
from db.engine import reading, writing
from db.prices import PriceRow, add_price, add_prices, list_prices, load_prices, read_price

NOW = 1_800_000_000_000


def stated(model: str, dollars: str, at_ms: int = NOW, source: str = "override") -> PriceRow:
    row = row_of(model, None, rates_from_dollars({"input": dollars, "output": dollars}), at_ms, source)
    return replace(row, actor="ada", reason="negotiated", created_at=NOW)


def test_a_price_is_read_back_as_it_was_stated(engine: Engine) -> None:
    row = stated("gpt-4o", "1.5")
    with writing(engine) as connection:
        assert add_price(connection, row)
    with reading(engine) as connection:
        assert read_price(connection, row.id) == row
        assert load_prices(connection) == [row]
        assert read_price(connection, "price-unknown") is None


def test_the_same_price_is_not_added_twice(engine: Engine) -> None:
    row = stated("gpt-4o", "1.5")
    with writing(engine) as connection:
        assert add_prices(connection, [row, row]) == 1
        assert not add_price(connection, replace(row, actor="bob", reason="again"))
        assert load_prices(connection) == [row]


def test_prices_are_listed_newest_first_by_name_and_source(engine: Engine) -> None:
    old, new = stated("gpt-4o", "1", NOW), stated("gpt-4o-mini", "2", NOW + 1)
    other = stated("100%_sure", "3", NOW + 2, "simulated")
    with writing(engine) as connection:
        add_prices(connection, [old, new, other])
    with reading(engine) as connection:
        assert list_prices(connection) == [other, new, old]
        assert list_prices(connection, model="GPT") == [new, old]
        assert list_prices(connection, model="%_") == [other]
        assert list_prices(connection, source="simulated") == [other]
        assert list_prices(connection, limit=1) == [other]
        assert list_prices(connection, model="claude") == []


def test_the_whole_map_is_stored_once_and_makes_the_same_book_again(engine: Engine) -> None:
    with writing(engine) as connection:
        added = add_prices(connection, new_rows(load_prices(connection), NOW))
    with writing(engine) as connection:
        assert add_prices(connection, new_rows(load_prices(connection), NOW + 1)) == 0
        stored = load_prices(connection)
    assert len(stored) == added > 3000
    price = PriceBook(stored).price_at("gpt-4o-mini", "openai", NOW)
    assert price is not None
    assert price == PriceBook(new_rows([], NOW)).price_at("gpt-4o-mini", "openai", NOW)


def test_two_writers_that_add_the_same_price_do_not_collide(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    row = stated("gpt-4o", "1.5")
    with writing(engine) as connection:
        add_price(connection, row)
        monkeypatch.setattr("db.prices._known_ids", lambda _connection, _rows: set[str]())
        add_price(connection, row)
        assert load_prices(connection) == [row]
