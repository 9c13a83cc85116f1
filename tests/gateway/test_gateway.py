"""The small steps between the stages: who is let in from where."""

from __future__ import annotations

import pytest

from backend.errors import Forbidden
from backend.gateway.gateway import refuse_foreign_page


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"host": b"localhost"},
        {b"host": b"localhost:4000"},
        {b"host": b"127.0.0.1:4000"},
        {b"host": b"127.8.9.1"},
        {b"host": b"[::1]:4000"},
        {b"host": b"[::1]"},
        {b"origin": b"http://localhost:8501", b"host": b"localhost:4000"},
        {b"origin": b"http://127.0.0.1:8501"},
        {b"origin": b"https://[::1]:8501"},
    ],
)
def test_this_machine_may_call_without_a_key(headers: dict[bytes, bytes]) -> None:
    refuse_foreign_page(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {b"host": b"evil.example"},
        {b"host": b"evil.example:4000"},
        {b"host": b"localhost.evil.example"},
        {b"host": b"127.0.0.1.evil.example"},
        {b"host": b"127.evil.example"},
        {b"host": b"evil.example:127.0.0.1"},
        {b"host": b""},
        {b"host": b"0.0.0.0"},
        {b"host": b"[::]"},
        {b"host": b"[::1].evil.example"},
        {b"host": b"localhost@evil.example"},
        {b"origin": b"http://evil.example"},
        {b"origin": b"http://localhost.evil.example"},
        {b"origin": b"http://127.0.0.1.evil.example"},
        {b"origin": b"null"},
        {b"origin": b"file://"},
        {b"origin": b""},
        {b"origin": b"http://evil.example", b"host": b"localhost"},
    ],
)
def test_a_page_or_a_name_of_elsewhere_may_not(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Forbidden) as caught:
        refuse_foreign_page(headers)
    assert (caught.value.status, caught.value.retry) == (403, False)
