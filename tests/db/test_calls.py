from __future__ import annotations

from typing import Any

from sqlalchemy import select

from backend.call import Attempt, Entry
from db.attempts import close_attempts, open_attempts
from db.calls import (
    close_calls,
    delete_calls,
    give_up_calls,
    give_up_calls_before,
    lock_calls,
    open_calls,
    read_rows,
)
from db.columns import ATTEMPT_COLUMNS, CALL_COLUMNS, RowCheck
from db.engine import Engine, reading, writing
from db.tables import attempts, calls


def row(entry: Entry | Attempt, **changes: Any) -> tuple[Any, ...]:
    for name, value in changes.items():
        setattr(entry, name, value)
    names = CALL_COLUMNS if isinstance(entry, Entry) else ATTEMPT_COLUMNS
    return tuple(getattr(entry, name) for name in names)


def make(worker: str = "w", **values: Any) -> Entry:
    return Entry(worker=worker, endpoint="embeddings", **values)


def make_attempt(entry: Entry, number: int = 1) -> Attempt:
    return Attempt(entry.id, number, entry.worker, "d", "p", "m", entry.started_at)


def states(engine: Engine) -> dict[str, str]:
    with reading(engine) as connection:
        return {found.id: found.state for found in connection.execute(select(calls.c.id, calls.c.state))}


def test_a_call_is_opened_once_and_closed_once(engine: Engine) -> None:
    entry = make()
    with writing(engine) as connection:
        open_calls(connection, [row(entry)])
        open_calls(connection, [row(entry, model="other")])
        close_calls(connection, [row(entry, state="settled", cost_nusd=5)])
        close_calls(connection, [row(entry, cost_nusd=6)])
    with reading(engine) as connection:
        ((*found,),) = read_rows(connection, [entry.id])
    assert found[CALL_COLUMNS.index("cost_nusd")] == 5
    assert found[CALL_COLUMNS.index("state")] == "settled"


def test_a_call_that_was_never_opened_can_be_closed(engine: Engine) -> None:
    entry = make(state="failed")
    with writing(engine) as connection:
        close_calls(connection, [row(entry)], fresh=True)
        close_calls(connection, [row(entry, state="settled")], fresh=True)
    assert states(engine) == {entry.id: "failed"}


def test_states_of_known_calls_are_told(engine: Engine) -> None:
    opened, closed = make(), make(state="settled")
    with writing(engine) as connection:
        open_calls(connection, [row(opened), row(closed)])
        assert lock_calls(connection, [opened.id, closed.id, "none"]) == {opened.id: "open", closed.id: "settled"}


def test_only_open_calls_of_that_worker_are_given_up(engine: Engine) -> None:
    mine, others, done = make("dead"), make("alive"), make("dead", state="settled", cost_nusd=3)
    tries = [make_attempt(mine), make_attempt(mine, 2), make_attempt(others)]
    tries[0].state = "failed"
    with writing(engine) as connection:
        open_calls(connection, [row(each) for each in (mine, others, done)])
        close_attempts(connection, [row(tries[0])])
        open_attempts(connection, [row(each) for each in tries[1:]])
        (given_up,) = give_up_calls(connection, worker="dead")
        assert give_up_calls(connection, worker="dead") == []
    said = dict(zip(CALL_COLUMNS, given_up, strict=True))
    assert (said["id"], said["state"], said["status"], said["error_code"], said["attempts"]) == (
        mine.id,
        "unknown",
        "failed",
        "worker_died",
        2,
    )
    assert states(engine) == {mine.id: "unknown", others.id: "open", done.id: "settled"}
    with reading(engine) as connection:
        found = connection.execute(select(attempts.c.state).order_by(attempts.c.call_id, attempts.c.number))
        assert sorted(found.scalars()) == ["failed", "open", "unknown"]


def test_what_is_given_up_at_once_is_bounded(engine: Engine) -> None:
    with writing(engine) as connection:
        open_calls(connection, [row(make("dead")) for _ in range(5)])
        sizes = [len(give_up_calls(connection, worker="dead", limit=2)) for _ in range(4)]
    assert sizes == [2, 2, 1, 0]


def test_old_open_calls_are_given_up_whoever_made_them(engine: Engine) -> None:
    old, young = make(started_at=1_000), make(started_at=2_000)
    with writing(engine) as connection:
        open_calls(connection, [row(old), row(young)])
        assert len(give_up_calls_before(connection, started_before=2_000)) == 1
    assert states(engine) == {old.id: "unknown", young.id: "open"}


def test_old_closed_calls_are_removed_with_their_attempts_in_steps(engine: Engine) -> None:
    old = [make(started_at=1_000 + n, state="settled") for n in range(5)]
    still_open, young = make(started_at=500), make(started_at=9_000, state="settled")
    with writing(engine) as connection:
        open_calls(connection, [row(each) for each in (*old, still_open, young)])
        open_attempts(connection, [row(make_attempt(each)) for each in (*old, young)])
        assert [delete_calls(connection, started_before=5_000, limit=3) for _ in range(3)] == [3, 2, 0]
    assert states(engine).keys() == {still_open.id, young.id}
    with reading(engine) as connection:
        assert list(connection.scalars(select(attempts.c.call_id))) == [young.id]


def test_a_row_of_known_types_is_recognised_and_a_stranger_named() -> None:
    check = RowCheck(calls)
    good = row(make())
    assert check.faults(good) == check.faults(good) == []
    assert check.faults(row(make(prompt_tokens="7", user=None, model=7))) == ["model", "prompt_tokens"]
    assert check.faults(good[1:]) == [f"{len(good) - 1} values for {len(good)} columns"]
