"""One batch job of every kind, made as workers make them: waiting, at work, done, refused, cancelled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from backend.batch.desk import Ended, JobRow, LineEnd
from backend.batch.jobs import MAX_COST
from tests.batch.jobs import OWNER, RULES, Office, jsonl, request

REFUSED = orjson.dumps({"error": {"message": "Too <b>long</b>.", "type": "x", "param": None, "code": "too_long"}})


def open_job(office: Office, lines: int, **asked: Any) -> JobRow:
    """A job whose lines can be begun, held by worker a; each can cost 1,000 nano-dollars at most."""
    office.create(jsonl(*map(request, range(lines))), **asked)
    return office.desk().prepare(office.claim(), replace(RULES, bound=lambda _: 1000))


def work(office: Office, job: JobRow, done: int, failed: int, out: int = 0) -> JobRow:
    """Lines that are answered at 1,000 nano-dollars each, lines that are refused, and lines left under way."""
    desk = office.desk()
    job, lines = desk.exchange(job, Ended(), done + failed + out)
    good = [LineEnd(each.number, "completed", f"call-{each.number}", 200, b"{}", 1000) for each in lines[:done]]
    bad = lines[done : done + failed]
    ends = good + [LineEnd(each.number, "failed", f"call-{each.number}", 400, REFUSED) for each in bad]
    return desk.exchange(job, Ended(ends), 0)[0]


def finish(office: Office, job: JobRow) -> str:
    """Bring a job to its files; its id."""
    desk = office.desk()
    return desk.finish(desk.finalize(job), 30.0).id


def one_of_each(office: Office) -> dict[str, str]:
    """The ids of the jobs by what became of them."""
    made = {"completed": finish(office, work(office, open_job(office, 10), 8, 2))}
    made["refused"] = office.create(jsonl(request(1), b"nonsense", request(1)))
    office.desk().prepare(office.claim(), RULES)
    cancelled = work(office, open_job(office, 5), 1, 0)
    office.jobs.cancel(OWNER, cancelled.id)
    made["cancelled"] = finish(office, office.desk().renew(cancelled))
    running = work(office, open_job(office, 100, metadata={MAX_COST: "0.0001", "team": "search"}), 40, 3, 5)
    made["running"] = running.id
    made["waiting"] = office.create(jsonl(request()))
    return made
