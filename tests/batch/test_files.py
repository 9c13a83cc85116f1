from __future__ import annotations

import pytest
from sqlalchemy import text

from backend.batch.files import Files
from backend.batch.form import Form
from backend.batch.wire import now_ms
from backend.call import Identity
from backend.errors import BadRequest, BodyTooLarge, NotFound
from db import files as rows
from db.engine import Engine, reading
from tests.batch.jobs import OWNER, Office

OTHER = Identity("other", "key-2")
SIBLING = Identity("tenant", "key-3")


@pytest.fixture
def office(engine: Engine) -> Office:
    return Office(engine)


def test_a_file_is_shown_and_read_as_it_was_sent(office: Office) -> None:
    form = Form({"purpose": "batch"}, "in\n.jsonl", b"\x00\xff line\n")
    shown = office.files.keep(OWNER, form, 30.0)
    assert office.files.retrieve(OWNER, shown["id"]) == shown
    assert office.read(shown["id"], SIBLING) == form.content
    assert (shown["object"], shown["bytes"], shown["filename"], shown["purpose"]) == ("file", 8, "in.jsonl", "batch")
    assert (shown["status"], shown["expires_at"] - shown["created_at"]) == ("processed", 30 * 86_400)


def test_a_file_lives_as_long_as_its_owner_says(office: Office) -> None:
    fields = {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    shown = office.files.keep(OWNER, Form(fields, "a", b"x"), 30.0)
    assert shown["expires_at"] - shown["created_at"] == 3600


@pytest.mark.parametrize(
    ("fields", "content", "param"),
    [
        ({"purpose": "batch"}, None, "file"),
        ({}, b"x", "purpose"),
        ({"purpose": "fine-tune"}, b"x", "purpose"),
        ({"purpose": "batch", "expires_after[seconds]": "3600"}, b"x", "expires_after"),
        ({"purpose": "batch", "expires_after[anchor]": "created_at"}, b"x", "expires_after"),
        (
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "5"},
            b"x",
            "expires_after",
        ),
    ],
)
def test_an_upload_that_says_it_wrong_is_refused(
    office: Office, fields: dict[str, str], content: bytes | None, param: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        office.files.keep(OWNER, Form(fields, "a", content), 30.0)
    assert refused.value.param == param


def test_another_tenants_file_is_not_there(office: Office) -> None:
    file_id = office.upload(b"x")
    for act in (office.files.retrieve, office.files.open, office.files.delete):
        with pytest.raises(NotFound):
            act(OTHER, file_id)
    assert office.files.list(OTHER, {})["data"] == []
    assert office.read(file_id) == b"x"


def test_a_deleted_file_is_gone(office: Office) -> None:
    file_id = office.upload(b"x")
    assert office.files.delete(OWNER, file_id) == {"id": file_id, "object": "file", "deleted": True}
    with pytest.raises(NotFound):
        office.files.open(OWNER, file_id)


def test_pages_follow_each_other_without_gap_or_repetition(office: Office) -> None:
    made = sorted(office.upload(b"x") for _ in range(5))
    seen: list[str] = []
    query = {"limit": "2", "order": "asc"}
    while True:
        page = office.files.list(OWNER, query)
        seen += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            break
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], seen[-1])
        query = query | {"after": seen[-1]}
    assert seen == made
    assert [each["id"] for each in office.files.list(OWNER, {})["data"]] == made[::-1]
    assert office.files.list(OWNER, {"purpose": "batch_output"})["data"] == []


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "many"}, {"limit": "10001"}, {"order": "random"}])
def test_a_page_that_cannot_be_is_refused(office: Office, query: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        office.files.list(OWNER, query)


def test_an_expired_file_is_not_there_and_then_deleted(office: Office) -> None:
    file_id = str(Files(office.engine).keep(OWNER, Form({"purpose": "batch"}, "a", b"x"), 0.0)["id"])
    kept = office.upload(b"y")
    with pytest.raises(NotFound):
        office.files.retrieve(OWNER, file_id)
    office.clock.at = now_ms()
    assert office.desk().sweep(30.0) == 1
    assert office.read(kept) == b"y"


def test_a_file_larger_than_a_part_is_kept_in_parts_and_goes_with_all_of_them(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "PART_BYTES", 4)
    file_id = office.upload(b"0123456789")
    content = office.files.open(OWNER, file_id)
    assert [content.read(number) for number in range(4)] == [b"0123", b"4567", b"89", None]
    assert (content.row.size, office.read(file_id)) == (10, b"0123456789")
    office.files.delete(OWNER, file_id)
    with reading(office.engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM file_parts")) == 0


def test_a_tenant_whose_files_came_to_the_limit_is_refused_and_no_other(office: Office) -> None:
    form = Form({"purpose": "batch"}, "a", b"x" * 600)
    file_id = str(office.files.keep(OWNER, form, 30.0, 1000)["id"])
    with pytest.raises(BodyTooLarge):
        office.files.keep(SIBLING, form, 30.0, 1000)
    office.files.keep(OTHER, form, 30.0, 1000)
    office.files.delete(OWNER, file_id)
    office.files.keep(OWNER, form, 30.0, 1000)
