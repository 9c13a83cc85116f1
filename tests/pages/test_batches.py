"""Batch jobs as the page shows them: none, every kind, one in its drawer; and how one is ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from backend.actions import list_changes
from backend.batch.desk import Ended, LineEnd
from backend.batch.lines import Problem
from db.engine import connect, reading
from db.jobs import find_job
from tests.batch.jobs import OWNER, Office, jsonl, request
from tests.batch.samples import finish, one_of_each, open_job, work
from tests.pages.conftest import Visit, build_ledger
from tests.pages.test_every_page import assert_whole

PATH = "pages/observe/batches.py"


class Shelf:
    """A data folder with one batch job of every kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = build_ledger(folder, 0)
        self.office = Office(connect(f"sqlite:///{folder / 'governor.db'}"))
        self.ids = one_of_each(self.office)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


def words(app: AppTest) -> str:
    """Everything that is said in sentences."""
    return " ".join(each.value for each in (*app.markdown, *app.caption, *app.text)).replace("\\", "")


def figures(app: AppTest) -> dict[str, str]:
    return {each.label: each.value for each in app.metric}


def bars(app: AppTest) -> list[str]:
    return [each.proto.text.replace("\\", "") for each in app.get("progress")]


def test_without_jobs_the_page_says_how_to_start_one(visit: Visit) -> None:
    app = visit(PATH)
    assert_whole(app, "Batches")
    assert app.subheader[0].value == "No batch jobs yet"
    told = [each.value for each in app.code]
    assert told[0] == "governor batch run requests.jsonl --max-cost 5"
    assert "client.batches.create(" in told[2]


def test_every_job_has_a_line(visit: Visit, shelf: Shelf) -> None:
    app = visit(PATH, shelf.folder)
    assert_whole(app, "Batches")
    table = app.dataframe[0].value.set_index("job")
    assert [each[0] for each in table["state"]] == ["validating", "in progress", "cancelled", "failed", "completed"]
    running, done = table.loc[shelf.ids["running"]], table.loc[shelf.ids["completed"]]
    assert (running["lines"], running["failed"], running["share"]) == ("40 of 100", "3", 0.4)
    assert (running["cost"], running["budget"], running["model"]) == ("$0.0000400", "$0.000100", "m")
    assert running["time"].endswith("left")
    assert (done["lines"], done["budget"], done["file"]) == ("8 of 10", "—", "in.jsonl")
    assert done["time"].startswith("took ")
    assert table.loc[shelf.ids["waiting"]]["time"] == "waits for a worker"


@pytest.mark.parametrize(
    ("state", "kept"), [("unfinished", {"running", "waiting"}), ("failed", {"refused"}), ("cancelled", {"cancelled"})]
)
def test_the_list_narrows_by_state(visit: Visit, shelf: Shelf, state: str, kept: set[str]) -> None:
    table = visit(PATH, shelf.folder, state=state).dataframe[0].value
    assert set(table["job"]) == {shelf.ids[each] for each in kept}


def test_a_state_without_jobs_offers_all_of_them(visit: Visit, shelf: Shelf) -> None:
    app = visit(PATH, shelf.folder, state="expired")
    assert app.subheader[0].value == "No batch job is expired"
    app.button(key="jobs_all").click().run()
    assert len(app.dataframe[0].value) == 5
    assert "state" not in app.query_params


def test_a_long_list_has_pages(visit: Visit, shelf: Shelf) -> None:
    for _ in range(50):
        shelf.office.create(jsonl(request()))
    app = visit(PATH, shelf.folder)
    assert len(app.dataframe[0].value) == 50
    app.button(key="jobs_older").click().run()
    assert len(app.dataframe[0].value) == 5
    app.button(key="jobs_newer").click().run()
    assert len(app.dataframe[0].value) == 50


def test_a_page_whose_jobs_are_over_gives_way_to_the_first(visit: Visit, shelf: Shelf) -> None:
    for _ in range(49):
        shelf.office.create(jsonl(request()))
    app = visit(PATH, shelf.folder, state="unfinished")
    app.button(key="jobs_older").click().run()
    assert list(app.dataframe[0].value["job"]) == [shelf.ids["running"]]
    with reading(shelf.office.engine) as connection:
        running = find_job(connection, OWNER.tenant, shelf.ids["running"])
    assert running is not None
    shelf.office.desk().fail(running, Problem("stuck", "It does not go on."))
    assert len(app.run().dataframe[0].value) == 50


def test_a_job_at_work_shows_how_far_it_is(visit: Visit, shelf: Shelf) -> None:
    app = visit(PATH, shelf.folder, job=shelf.ids["running"])
    assert_whole(app, "Batches")
    assert bars(app) == ["40 of 100 lines answered · 5 under way", "$0.0000400 of its budget of $0.000100"]
    assert (figures(app)["Answered"], figures(app)["Failed"], figures(app)["Cost"]) == ("40", "3", "$0.0000400")
    failures = app.dataframe[1].value
    assert list(failures["message"]) == ["Too <b>long</b>."] * 3
    assert list(failures["line"]) == ["41", "42", "43"]
    assert "left · expires" in words(app)
    assert '"team": "search"' in app.json[0].value


def test_a_job_of_unknown_cost_is_not_shown_to_cost_nothing(visit: Visit, shelf: Shelf) -> None:
    job, (line, *_) = shelf.office.desk().exchange(open_job(shelf.office, 3), Ended(), 1)
    shelf.office.desk().exchange(job, Ended([LineEnd(line.number, "completed", "call", 200, b"{}", None)]), 0)
    assert visit(PATH, shelf.folder).dataframe[0].value.set_index("job").loc[job.id]["cost"] == "unpriced"
    assert figures(visit(PATH, shelf.folder, job=job.id))["Cost"] == "unpriced"


def test_a_finished_job_offers_its_files(visit: Visit, shelf: Shelf) -> None:
    app = visit(PATH, shelf.folder, job=shelf.ids["completed"])
    assert [each.proto.label.partition(" ")[0] for each in app.get("download_button")] == ["Results", "Errors", "Input"]
    assert f"governor batch results {shelf.ids['completed']} --output results.jsonl" in [x.value for x in app.code]
    assert "job_cancel_do" not in {each.key for each in app.button}


def test_deleted_results_are_said_to_be(visit: Visit, shelf: Shelf) -> None:
    shelf.office.files.delete(OWNER, shelf.office.shown(shelf.ids["completed"])["output_file_id"])
    assert "Deleted since: results." in words(visit(PATH, shelf.folder, job=shelf.ids["completed"]))


def test_a_refused_file_says_which_lines_are_wrong(visit: Visit, shelf: Shelf) -> None:
    app = visit(PATH, shelf.folder, job=shelf.ids["refused"])
    assert "The file was refused; no line was sent." in words(app)
    assert list(app.dataframe[1].value["code"]) == ["invalid_json_line", "duplicate_custom_id"]
    assert "call" not in app.dataframe[1].value


def test_a_job_that_is_not_there_is_said_to_be(visit: Visit, shelf: Shelf) -> None:
    assert visit(PATH, shelf.folder, job="batch_nope").subheader[0].value == "No such batch job"


def test_cancelling_needs_a_reason_and_is_signed(visit: Visit, shelf: Shelf) -> None:
    app = visit(PATH, shelf.folder, job=shelf.ids["running"])
    app.button(key="job_cancel_do").click().run()
    assert app.error[0].value == "It needs a reason."
    app.text_input(key="job_cancel_reason").set_value("wrong file")
    app.button(key="job_cancel_do").click().run()
    assert not app.exception
    assert [each.value for each in app.toast] == ["The batch job ends."]
    assert shelf.office.shown(shelf.ids["running"])["status"] == "cancelling"
    (act,) = list_changes(shelf.office.engine)
    assert (act.actor, act.action, act.reason) == ("local", "batch.cancel", "wrong file")


def test_a_job_that_ended_meanwhile_is_shown_as_it_is_and_nothing_is_signed(visit: Visit, shelf: Shelf) -> None:
    job = work(shelf.office, open_job(shelf.office, 1), 1, 0)
    app = visit(PATH, shelf.folder, job=job.id)
    app.text_input(key="job_cancel_reason").set_value("too late")
    finish(shelf.office, job)
    app.button(key="job_cancel_do").click().run()
    assert not app.exception
    assert bars(app) == ["1 of 1 lines answered"]
    assert "job_cancel_do" not in {each.key for each in app.button}
    assert list_changes(shelf.office.engine) == []
