"""Batch jobs as the page reads them: every tenant's, page by page; what failed, from wherever it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from backend.actions import KeyDraft, Signature, create_key
from backend.batch import results
from backend.batch.desk import LEASE_MS
from backend.batch.jobs import MAX_COST
from backend.call import Identity
from backend.reports.batches import STATES, has_unfinished, read_file, read_job, read_jobs
from backend.reports.ledger import Ledger
from db import files
from tests.batch.jobs import OWNER, Office, jsonl, request
from tests.batch.samples import finish, one_of_each, open_job, work
from tests.reports.ledgers import ledger_of


@pytest.fixture
def office(engine: Engine) -> Office:
    return Office(engine)


@pytest.fixture
def ledger(office: Office, tmp_path: Path) -> Ledger:
    return ledger_of(office.engine, tmp_path)


def listed(ledger: Ledger, state: str = "all") -> list[str]:
    """The ids of all jobs, read two at a time."""
    found, after = list[str](), None
    while True:
        page = read_jobs(ledger, state, after, 2)
        found += [each.row.id for each in page.jobs]
        if page.next is None:
            return found
        after = page.next


def test_every_tenants_jobs_are_listed_newest_first_page_by_page(office: Office, ledger: Ledger) -> None:
    made = [office.create(jsonl(request())) for _ in range(3)]
    made.append(office.create(jsonl(request()), Identity("other", None)))
    assert listed(ledger) == sorted(made, reverse=True)
    others = next(each for each in read_jobs(ledger).jobs if each.row.tenant == "other")
    assert (others.key, others.filename) == (None, "in.jsonl")


def test_the_list_narrows_by_what_became_of_the_jobs(office: Office, ledger: Ledger) -> None:
    made = one_of_each(office)
    assert listed(ledger, "completed") == [made["completed"]]
    assert listed(ledger, "failed") == [made["refused"]]
    assert listed(ledger, "cancelled") == [made["cancelled"]]
    assert set(listed(ledger, "unfinished")) == {made["running"], made["waiting"]}
    assert sum(len(listed(ledger, state)) for state in STATES if state != "all") == len(listed(ledger)) == 5


def test_jobs_that_still_change_are_known(office: Office, ledger: Ledger) -> None:
    assert not has_unfinished(ledger)
    job = open_job(office, 1)
    assert has_unfinished(ledger)
    finish(office, work(office, job, 1, 0))
    assert not has_unfinished(ledger)


def test_a_key_has_its_name_and_a_deleted_file_none(office: Office, ledger: Ledger) -> None:
    key = create_key(office.engine, b"s" * 32, KeyDraft("search"), Signature("ana", "test"))
    owner = replace(OWNER, key_id=key.id)
    job_id = office.create(jsonl(request()), owner)
    office.files.delete(owner, office.shown(job_id)["input_file_id"])
    (job,) = read_jobs(ledger).jobs
    assert (job.key, job.filename) == ("search", None)


def test_a_job_at_work_says_how_far_it_is_and_how_long_it_takes(office: Office, ledger: Ledger) -> None:
    office.clock.at -= 10_000
    job = work(office, open_job(office, 10, metadata={MAX_COST: "0.5", "team": "search"}), 3, 2, 4)
    office.clock.at += 10_000
    office.desk().renew(job)
    detail = read_job(ledger, job.id)
    assert detail is not None
    shown = detail.job
    assert (shown.done, shown.share, shown.row.spent_nusd, detail.under_way) == (5, 0.3, 3000, 4)
    assert shown.left_ms is not None
    assert shown.left_ms >= 10_000
    assert (shown.is_held, shown.can_be_cancelled, shown.ended_at) == (True, True, None)
    assert detail.metadata["team"] == "search"
    assert list(detail.files) == ["input"]


def test_nobody_knows_how_long_a_job_takes_that_nobody_holds(office: Office, ledger: Ledger) -> None:
    office.clock.at -= LEASE_MS + 1000
    job = work(office, open_job(office, 10), 3, 0)
    (shown,) = read_jobs(ledger).jobs
    assert (shown.row.id, shown.is_held, shown.left_ms) == (job.id, False, None)


def test_lines_that_failed_are_told_while_the_job_runs_and_afterwards(office: Office, ledger: Ledger) -> None:
    job = work(office, open_job(office, 5), 3, 2)
    running = read_job(ledger, job.id)
    ended = read_job(ledger, finish(office, job))
    assert running is not None
    assert ended is not None
    assert running.failures == ended.failures
    assert [(each.line, each.custom_id, each.code, each.status_code, each.call_id) for each in ended.failures] == [
        (4, "r3", "too_long", 400, "call-4"),
        (5, "r4", "too_long", 400, "call-5"),
    ]
    assert ended.failures[0].message == "Too <b>long</b>."
    assert set(ended.files) == {"results", "errors", "input"}
    assert read_file(ledger, ended.files["results"]).count(b"\n") == 3


def test_lines_left_undone_say_why(office: Office, ledger: Ledger) -> None:
    detail = read_job(ledger, one_of_each(office)["cancelled"])
    assert detail is not None
    assert {each.code for each in detail.failures} == {"batch_cancelled"}
    assert {each.call_id for each in detail.failures} == {None}


def test_mistakes_of_a_file_are_told_by_their_line(office: Office, ledger: Ledger) -> None:
    detail = read_job(ledger, one_of_each(office)["refused"])
    assert detail is not None
    assert [(each.line, each.code) for each in detail.failures] == [
        (2, "invalid_json_line"),
        (3, "duplicate_custom_id"),
    ]


def test_only_the_first_failures_are_read_of_a_long_error_file(
    office: Office, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "PART_BYTES", 1000)
    monkeypatch.setattr(files, "PART_BYTES", 1000)
    detail = read_job(ledger, finish(office, work(office, open_job(office, 50), 0, 50)))
    assert detail is not None
    assert [each.line for each in detail.failures] == list(range(1, len(detail.failures) + 1))
    assert 0 < len(detail.failures) <= 20


def test_files_that_were_deleted_are_not_offered(office: Office, ledger: Ledger) -> None:
    job_id = finish(office, work(office, open_job(office, 2), 1, 1))
    for name in ("output_file_id", "error_file_id"):
        office.files.delete(OWNER, office.shown(job_id)[name])
    detail = read_job(ledger, job_id)
    assert detail is not None
    assert (list(detail.files), detail.failures) == (["input"], ())


def test_a_job_that_is_not_there_is_none(ledger: Ledger) -> None:
    assert read_job(ledger, "batch_nope") is None
