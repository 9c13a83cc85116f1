from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages.components.session import LIFETIME_S, Signer, Throttle

SIGNER = Signer.derive(b"secret of the installation", "password")


@given(st.text(min_size=1, max_size=64).filter(str.isprintable))
def test_a_cookie_says_who_signed_in(name: str) -> None:
    assert SIGNER.read(SIGNER.sign(name)) == name


def test_a_cookie_ends_after_its_time() -> None:
    cookie = SIGNER.sign("ana", now_s=1000)
    assert SIGNER.read(cookie, now_s=1000 + LIFETIME_S - 1) == "ana"
    assert SIGNER.read(cookie, now_s=1000 + LIFETIME_S) is None


@pytest.mark.parametrize("cookie", [None, "", ".", "a.b", "e30." + "0" * 64, "ä.ö"])
def test_what_is_no_cookie_lets_nobody_in(cookie: str | None) -> None:
    assert SIGNER.read(cookie) is None


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_cookie_lets_nobody_in(place: int, byte: int) -> None:
    cookie = SIGNER.sign("ana")
    place %= len(cookie)
    forged = cookie[:place] + chr(byte) + cookie[place + 1 :]
    assert forged == cookie or SIGNER.read(forged) is None


def test_another_password_or_installation_ends_every_session() -> None:
    cookie = SIGNER.sign("ana")
    assert Signer.derive(b"secret of the installation", "new password").read(cookie) is None
    assert Signer.derive(b"another secret", "password").read(cookie) is None


def test_guessing_is_slowed_for_one_address_and_not_for_others() -> None:
    throttle = Throttle(per_client=3, window_s=60)
    for second in range(3):
        assert throttle.wait_s("one", second) == 0
        throttle.count("one", second)
    assert throttle.wait_s("one", 10) > 0
    assert throttle.wait_s("other", 10) == 0
    assert throttle.wait_s("one", 61) == 0


def test_guessing_from_many_addresses_is_slowed_for_all() -> None:
    throttle = Throttle(per_client=3, overall=5, window_s=60)
    for number in range(5):
        throttle.count(f"client {number}", 1)
    assert throttle.wait_s("a new one", 2) > 0
