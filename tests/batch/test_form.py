from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.batch.form import read_form
from backend.errors import BadRequest

KIND = b"multipart/form-data; boundary=xyz"


def body(content: bytes, *, closed: bool = True) -> bytes:
    head = b'--xyz\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    file = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a b.jsonl"\r\n'
    return head + file + b"Content-Type: application/x\r\n\r\n" + content + (b"\r\n--xyz--\r\n" if closed else b"")


@given(st.binary(max_size=2000).filter(lambda content: b"--xyz" not in content))
def test_a_file_comes_out_as_it_went_in(content: bytes) -> None:
    form = read_form(KIND, body(content))
    assert (form.fields, form.filename, form.content) == ({"purpose": "batch"}, "a b.jsonl", content)


@pytest.mark.parametrize("kind", [b"", b"application/json", b"multipart/form-data", b"multipart/mixed; boundary=xyz"])
def test_another_kind_of_body_is_refused(kind: bytes) -> None:
    with pytest.raises(BadRequest):
        read_form(kind, body(b"x"))


@pytest.mark.parametrize("broken", [b"nonsense", b"--abc\r\n\r\n", b"--xyz\r\nbad header\r\n\r\nx"])
def test_a_body_that_is_no_form_is_refused(broken: bytes) -> None:
    with pytest.raises(BadRequest):
        read_form(KIND, broken)


def test_a_form_that_breaks_off_is_refused() -> None:
    with pytest.raises(BadRequest):
        read_form(KIND, body(b"half", closed=False))


def test_a_form_of_very_many_fields_is_refused() -> None:
    fields = (b'--xyz\r\nContent-Disposition: form-data; name="a%d"\r\n\r\n1\r\n' % number for number in range(100))
    with pytest.raises(BadRequest):
        read_form(KIND, b"".join(fields) + b"--xyz--\r\n")
