from __future__ import annotations

import re
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages.components import format as fmt


@pytest.mark.parametrize(
    ("nusd", "text"),
    [
        (None, "unpriced"),
        (0, "$0"),
        (1, "$0.00000000100"),
        (214_000, "$0.000214"),
        (27_900, "$0.0000279"),
        (9_996_000, "$0.0100"),
        (999_999_999, "$1.00"),
        (12_340_000_000, "$12.34"),
        (-12_340_000_000, "-$12.34"),
        (1_234_567_000_000_000, "$1,234,567"),
    ],
)
def test_money_has_the_precision_it_needs(nusd: int | None, text: str) -> None:
    assert fmt.money(nusd) == text


def test_an_estimate_is_marked_and_the_unknown_is_never_a_number() -> None:
    assert fmt.money(214_000, estimated=True) == "~$0.000214"
    assert fmt.money(None, estimated=True) == "unpriced"


@given(st.integers(1, 10**18))
def test_money_shown_is_within_half_a_per_cent(nusd: int) -> None:
    shown = float(fmt.money(nusd).lstrip("$").replace(",", ""))
    assert shown == pytest.approx(nusd / 1e9, rel=0.0051)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "—"),
        (0, "0 ms"),
        (0.42, "0.42 ms"),
        (820.4, "820 ms"),
        (1234.0, "1.23 s"),
        (90_000.0, "1.5 min"),
        (9e9, "2,500.0 h"),
    ],
)
def test_durations_take_the_unit_that_fits(ms: float | None, text: str) -> None:
    assert fmt.duration(ms) == text


@pytest.mark.parametrize(
    ("number", "text"), [(None, "—"), (0, "0"), (9_999, "9,999"), (12_345, "12.3k"), (5_300_000, "5.3M"), (2e9, "2.0G")]
)
def test_counts_are_shortened_above_ten_thousand(number: float | None, text: str) -> None:
    assert fmt.count(number) == text


def test_a_change_without_a_baseline_is_none_and_a_flat_one_is_zero() -> None:
    assert fmt.change(5, None) is None
    assert fmt.change(5, 0) is None
    assert fmt.change(None, 5) is None
    assert fmt.change(100, 100.01) == 0
    assert fmt.change(112, 100) == "+12%"
    assert fmt.change(99, 100) == "-1.0%"


def test_an_unknown_time_zone_is_utc() -> None:
    assert fmt.clock(0, fmt.zone("Mars/Olympus")) == "1970-01-01 00:00:00"
    assert fmt.clock(0, fmt.zone("Europe/Berlin")) == "1970-01-01 01:00:00"
    assert fmt.zone("Europe/Berlin") == ZoneInfo("Europe/Berlin")


@given(st.text() | st.from_regex(r"(https?://|www\.|a@)[a-z]{1,5}\.com", fullmatch=True))
def test_plain_text_cannot_become_markup(text: str) -> None:
    shown = fmt.plain(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[\[\]<>*_`:$#|]", re.sub(r"\\\\", "", shown))
    assert not re.search(r"://|www\.|@\w", shown.replace("\\", ""), re.IGNORECASE)
    if "\N{WORD JOINER}" not in text:
        assert re.sub(r"\\(.)", r"\1", shown).replace("\N{WORD JOINER}", "") == " ".join(text.split())
