from __future__ import annotations

from dataclasses import replace

import pytest

from db.engine import Engine, reading, writing
from db.engine_qualities import insert_quality, list_latest_qualities, list_qualities
from tests.engine.judged import JUDGED


@pytest.fixture
def kept(engine: Engine) -> Engine:
    """Five comparisons: two engines, one of them judged twice as it is and once each with other weights."""
    other = replace(JUDGED, quantisation="fp8"), replace(JUDGED, dtype="float16")
    rows = [JUDGED, replace(JUDGED, perplexity=12.5), *other, replace(JUDGED, engine="other")]
    with writing(engine) as connection:
        for number, row in enumerate(rows):
            insert_quality(connection, replace(row, id=f"q{number}", measured_at=number))
    return engine


def test_a_comparison_comes_back_as_it_was_kept(engine: Engine) -> None:
    unknown = replace(JUDGED, precision=None, weight_bytes=None, reference_engine=None, reference_weight_bytes=None)
    with writing(engine) as connection:
        insert_quality(connection, unknown)
    with reading(engine) as connection:
        assert list_qualities(connection, limit=9) == [unknown]


def test_comparisons_are_listed_newest_first_and_by_engine(kept: Engine) -> None:
    with reading(kept) as connection:
        assert [row.id for row in list_qualities(connection, limit=3)] == ["q4", "q3", "q2"]
        assert [row.id for row in list_qualities(connection, limit=9, engine="small")] == ["q3", "q2", "q1", "q0"]


def test_of_every_variant_the_latest_comparison_counts(kept: Engine) -> None:
    with reading(kept) as connection:
        assert [row.id for row in list_latest_qualities(connection, 9)] == ["q4", "q3", "q2", "q1"]
        assert [row.id for row in list_latest_qualities(connection, 1)] == ["q4"]
