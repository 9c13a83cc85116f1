"""The prices commands: list prices are there from the start, overrides win."""

from __future__ import annotations

from tests.cli.conftest import Governor


def test_list_prices_are_there_after_the_upgrade(ready: Governor) -> None:
    lines = ready("prices", "list", "gpt-4o-mini", "--limit", "1000", "--json").lines
    listed = {line["model"]: line["rates_nusd_per_mtok"]["standard"][0] for line in lines}
    assert listed["gpt-4o-mini"]["input"] == 150_000_000


def test_a_second_upgrade_adds_no_price_twice(ready: Governor) -> None:
    before = ready("prices", "list", "--limit", "100000", "--json").out
    ready("db", "upgrade")
    assert ready("prices", "list", "--limit", "100000", "--json").out == before


def test_an_override_is_kept_to_the_nano_dollar(ready: Governor) -> None:
    rates = ("input=1.5", "output=2.000000001")
    assert ready("prices", "set", "house", *rates, "--reason", "measured").code == 0
    (line,) = ready("prices", "list", "house", "--source", "override", "--json").lines
    (standard,) = line["rates_nusd_per_mtok"]["standard"]
    assert (standard["input"], standard["output"]) == (1_500_000_000, 2_000_000_001)
    assert line["reason"] == "measured"
    assert "1.50" in ready("prices", "list", "house").out


def test_an_override_needs_rates_that_are_numbers(ready: Governor) -> None:
    assert ready("prices", "set", "house", "--reason", "x").code == 2
    assert ready("prices", "set", "house", "input=cheap", "--reason", "x").code == 2
    assert ready("prices", "set", "house", "inputs=1", "--reason", "x").code == 1


def test_an_override_can_be_withdrawn(ready: Governor) -> None:
    ready("prices", "set", "house", "input=1", "output=1", "--reason", "guess")
    assert ready("prices", "set", "house", "--withdraw", "--reason", "wrong").code == 0
    newest = ready("prices", "list", "house", "--json").lines[0]
    assert newest["rates_nusd_per_mtok"] is None
