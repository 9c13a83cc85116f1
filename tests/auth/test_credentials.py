from __future__ import annotations

import hashlib
import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.auth.credentials import Hasher, make_credential, read_credential


def test_a_credential_has_a_public_part_and_a_secret_that_cannot_be_guessed() -> None:
    credential, public = make_credential()
    assert re.fullmatch(rf"gov-{public}-[A-Za-z0-9]{{43}}", credential)
    assert len(public) == 12
    assert len({make_credential() for _ in range(100)}) == 100


@given(st.binary(), st.binary(min_size=1))
def test_the_hash_is_the_hmac_of_the_whole_credential_every_time(credential: bytes, secret: bytes) -> None:
    hasher = Hasher(secret)
    wanted = hmac.new(secret, credential, hashlib.sha256).digest()
    assert [hasher.digest(credential), hasher.digest(credential)] == [wanted, wanted]


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ({b"authorization": b"Bearer gov-a-b"}, b"gov-a-b"),
        ({b"authorization": b"bearer  gov-a-b "}, b"gov-a-b"),
        ({b"x-api-key": b"gov-a-b"}, b"gov-a-b"),
        ({b"api-key": b"gov-a-b"}, b"gov-a-b"),
        ({b"authorization": b"Basic eDp5", b"x-api-key": b"gov-a-b"}, b"gov-a-b"),
        ({b"authorization": b"Bearer one", b"x-api-key": b"two"}, b"one"),
        ({b"authorization": b"Bearer ", b"x-api-key": b"two"}, b""),
        ({b"authorization": b"gov-a-b"}, b""),
        ({}, b""),
    ],
)
def test_the_credential_is_read_where_clients_put_it(headers: dict[bytes, bytes], credential: bytes) -> None:
    assert read_credential(headers) == credential
