"""Tables, colours, money and times for people."""

from __future__ import annotations

import io

import pytest

from backend.cli.output import paint, put_rows, show_dollars, show_time


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_only() -> None:
    assert paint("late", "red", stream=io.StringIO()) == "late"
    assert paint("late", "red", stream=Terminal()) == "\x1b[31mlate\x1b[0m"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("late", "red", stream=Terminal()) == "late"


@pytest.mark.parametrize(
    ("nusd", "shown"),
    [(None, "–"), (0, "$0.00"), (1, "$0.000000001"), (27_900, "$0.0000279"), (-1_500_000_000, "-$1.50")],
)
def test_money_is_shown_exactly_and_the_unknown_as_a_dash(nusd: int | None, shown: str) -> None:
    assert show_dollars(nusd) == shown


def test_times_are_utc_with_milliseconds() -> None:
    assert show_time(1_795_220_900_126) == "2026-11-21T00:28:20.126Z"
    assert show_time(None) is None


def test_rows_become_an_aligned_table(capsys: pytest.CaptureFixture[str]) -> None:
    put_rows([{"name": "a", "count": 1}, {"name": "longer", "count": None}], as_json=False)
    assert capsys.readouterr().out == "name    count\na       1\nlonger  –\n"


def test_an_empty_table_still_has_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    put_rows([], as_json=False, columns=["id", "name"])
    assert capsys.readouterr().out == "id  name\n"
