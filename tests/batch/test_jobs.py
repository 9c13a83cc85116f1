from __future__ import annotations

from typing import Any

import pytest

from backend.actions import Signature, cancel_job, list_changes
from backend.batch.jobs import MAX_COST
from backend.call import Identity
from backend.errors import BadRequest, Conflict, NotFound
from db.engine import Engine
from tests.batch.jobs import CHAT, OWNER, RULES, Office, jsonl, request

OTHER = Identity("other", "key-2")
FIELDS = (
    "id object endpoint model errors input_file_id completion_window status output_file_id error_file_id created_at "
    "in_progress_at expires_at finalizing_at completed_at failed_at expired_at cancelling_at cancelled_at "
    "request_counts metadata governor"
)


@pytest.fixture
def office(engine: Engine) -> Office:
    return Office(engine)


def test_a_new_batch_has_every_field_and_a_day(office: Office) -> None:
    job_id = office.create(jsonl(request()), metadata={"team": "red"})
    shown = office.shown(job_id)
    assert list(shown) == FIELDS.split()
    assert (shown["object"], shown["status"], shown["metadata"]) == ("batch", "validating", {"team": "red"})
    assert shown["expires_at"] - shown["created_at"] == 86_400
    assert shown["request_counts"] == {"total": 0, "completed": 0, "failed": 0}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": None}, "endpoint"),
        ({"endpoint": "/v1/images/generations"}, "endpoint"),
        ({"endpoint": 5}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"completion_window": None}, "completion_window"),
        ({"input_file_id": None}, "input_file_id"),
        ({"metadata": ["a"]}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ({"metadata": {"x" * 65: "x"}}, "metadata"),
        ({"metadata": {"x": "x" * 513}}, "metadata"),
        ({"metadata": {MAX_COST: "much"}}, "metadata"),
        ({"metadata": {MAX_COST: "-1"}}, "metadata"),
        ({"metadata": {MAX_COST: "NaN"}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after"),
        ({"output_expires_after": 5}, "output_expires_after"),
    ],
)
def test_a_batch_that_says_it_wrong_is_refused(office: Office, changes: dict[str, Any], param: str) -> None:
    document = {"input_file_id": office.upload(b"x"), "endpoint": CHAT, "completion_window": "24h"} | changes
    with pytest.raises(BadRequest) as refused:
        office.jobs.create(OWNER, document, {})
    assert refused.value.param in {param, "expires_after"}
    assert office.jobs.list(OWNER, {})["data"] == []


def test_a_budget_is_read_to_the_nano_dollar(office: Office) -> None:
    job_id = office.create(jsonl(request()), metadata={MAX_COST: "0.000000001"})
    assert office.shown(job_id)["governor"] == {"cost_nusd": 0, "max_cost_nusd": 1}


def test_another_tenants_batch_and_file_are_not_there(office: Office) -> None:
    job_id = office.create(jsonl(request()))
    for act in (office.jobs.retrieve, office.jobs.cancel):
        with pytest.raises(NotFound):
            act(OTHER, job_id)
    assert office.jobs.list(OTHER, {})["data"] == []
    document = {"input_file_id": office.upload(b"x"), "endpoint": CHAT, "completion_window": "24h"}
    with pytest.raises(NotFound):
        office.jobs.create(OTHER, document, {})
    assert office.shown(job_id)["status"] == "validating"


def test_a_batch_is_made_of_an_upload_not_of_results(office: Office) -> None:
    office.create(jsonl(request()))
    desk = office.desk()
    job = desk.prepare(office.claim(), RULES)
    office.jobs.cancel(OWNER, job.id)
    done = desk.finish(desk.renew(job), 30.0)
    assert done.error_file_id is not None
    document = {"input_file_id": done.error_file_id, "endpoint": CHAT, "completion_window": "24h"}
    with pytest.raises(BadRequest):
        office.jobs.create(OWNER, document, {})


def test_a_batch_can_be_cancelled_until_it_writes_its_results(office: Office) -> None:
    first, second = office.create(jsonl(request())), office.create(jsonl(request()))
    assert office.jobs.cancel(OWNER, first)["status"] == "cancelling"
    assert office.jobs.cancel(OWNER, first)["cancelling_at"] is not None
    desk = office.desk()
    taken = [office.claim(), office.claim()]
    (job,) = [each for each in taken if each.id == second]
    desk.finalize(desk.prepare(job, RULES))
    with pytest.raises(Conflict, match="finalizing"):
        office.jobs.cancel(OWNER, second)


def test_a_person_cancels_any_tenants_batch_under_the_same_rules_and_signs_it(office: Office) -> None:
    job_id, by = office.create(jsonl(request())), Signature("ana", "wrong file")
    cancel_job(office.engine, job_id, by)
    assert office.shown(job_id)["status"] == "cancelling"
    desk = office.desk()
    desk.finish(desk.finalize(office.claim()), 30.0)
    with pytest.raises(Conflict, match="cancelled"):
        cancel_job(office.engine, job_id, by)
    with pytest.raises(NotFound):
        cancel_job(office.engine, "batch_nope", by)
    (act,) = list_changes(office.engine)
    assert (act.actor, act.action, act.subject, act.reason) == ("ana", "batch.cancel", job_id, "wrong file")
    assert act.changes == {"tenant": OWNER.tenant, "completed": 0, "failed": 0, "total": 0}


def test_batches_are_listed_newest_first_in_pages(office: Office) -> None:
    made = sorted((office.create(jsonl(request())) for _ in range(3)), reverse=True)
    page = office.jobs.list(OWNER, {"limit": "2"})
    assert [each["id"] for each in page["data"]] == made[:2]
    assert page["has_more"]
    rest = office.jobs.list(OWNER, {"after": page["last_id"]})
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (made[2:], False)
    with pytest.raises(BadRequest):
        office.jobs.list(OWNER, {"limit": "101"})
