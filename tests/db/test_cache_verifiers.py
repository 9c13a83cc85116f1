from __future__ import annotations

from dataclasses import replace

from db.cache_labels import add_labels, row_of
from db.cache_verifiers import VerifierRow, add_verifier, find_space, read_verifiers
from db.engine import Engine, reading, writing
from db.revisions import read_marks
from tests.ledger.samples import make_label

ROW = VerifierRow("0a0b0c0d", 1, "refitted-1", "shipped-1", "{}", 10, 9, 400, 100, 0.02, 0.01, adopted=True)


def test_fits_come_back_as_they_were_written_oldest_first(engine: Engine) -> None:
    second = replace(ROW, generation=2, name="refitted-2", adopted=False)
    with writing(engine) as connection:
        assert add_verifier(connection, second)
        assert add_verifier(connection, ROW)
        assert add_verifier(connection, replace(ROW, space="ffffffff"))
    with reading(engine) as connection:
        assert read_verifiers(connection, ROW.space) == [ROW, second]
        assert read_verifiers(connection, "00000000") == []


def test_of_two_workers_the_first_writes_a_generation_and_both_are_woken(engine: Engine) -> None:
    with writing(engine) as connection:
        assert add_verifier(connection, ROW)
    woken = read_marks(engine)["cache_labels"]
    with writing(engine) as connection:
        assert not add_verifier(connection, replace(ROW, name="late"))
    with reading(engine) as connection:
        assert [row.name for row in read_verifiers(connection, ROW.space)] == ["refitted-1"]
    assert read_marks(engine)["cache_labels"] == woken >= 1


def test_the_space_is_that_of_the_newest_label_with_features(engine: Engine) -> None:
    with reading(engine) as connection:
        assert find_space(connection) is None
    labels = [make_label("a", features="old:AA"), make_label("b", features="new:AA"), make_label("c")]
    with writing(engine) as connection:
        add_labels(connection, [row_of(label, 1 + place) for place, label in enumerate(labels)])
    with reading(engine) as connection:
        assert find_space(connection) == "new"
