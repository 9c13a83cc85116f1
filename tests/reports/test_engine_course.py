from __future__ import annotations

from typing import Any

import orjson
import pytest

from backend.engine.scrape import Latency, Sample
from backend.reports.engine_course import COLUMNS, MOST_SAMPLES, read_engine_course, read_pulses
from backend.reports.filters import make_scope
from backend.reports.ledger import Ledger
from db.engine import writing
from db.engine_samples import EngineSample, add_samples

HOUR_MS = 3_600_000
AT = 1_790_000_000_000 - 1_790_000_000_000 % (24 * HOUR_MS)
DAY = make_scope(AT, AT + 24 * HOUR_MS)


def keep(ledger: Ledger, engine: str, *said: tuple[int, dict[str, Any]]) -> None:
    rows = [EngineSample(engine, at, orjson.dumps(Sample(at, **figures).figures()).decode()) for at, figures in said]
    with writing(ledger.database.engine) as connection:
        add_samples(connection, rows)


def test_without_readings_every_bucket_is_a_gap(empty: Ledger) -> None:
    frame = read_engine_course(empty, DAY, "local")
    assert list(frame["at"]) == list(DAY.buckets)
    assert frame[list(COLUMNS)].isna().all(axis=None)
    assert read_pulses(empty) == {}


def test_a_bucket_is_the_mean_of_its_readings_and_silence_is_no_zero(empty: Ledger) -> None:
    keep(
        empty,
        "local",
        (AT + 1000, {"running": 2, "completion_tokens_per_s": None}),
        (AT + 70_000, {"running": 4, "completion_tokens_per_s": 50.0, "ttft": Latency(9, 10.0, 30.0, 40.0)}),
        (AT + HOUR_MS, {"running": 1}),
    )
    keep(empty, "other", (AT + 2000, {"running": 100}))
    frame = read_engine_course(empty, DAY, "local").set_index("at")
    first = frame.loc[AT]
    assert (first["running"], first["completion_tokens_per_s"], first["ttft_p95"]) == (3.0, 50.0, 30.0)
    assert frame.loc[AT + HOUR_MS, "running"] == 1.0
    assert frame["running"].notna().sum() == 2


def test_a_long_range_is_read_thinly_and_evenly(empty: Ledger) -> None:
    keep(empty, "local", *((AT + 10_000 * number, {"running": number}) for number in range(8640)))
    frame = read_engine_course(empty, DAY, "local")
    assert frame["running"].notna().all()
    step = 24 * HOUR_MS // MOST_SAMPLES // 10_000
    assert frame["running"].iloc[0] == pytest.approx(180, abs=step + 1)
    assert frame["running"].is_monotonic_increasing


def test_the_pulse_is_the_latest_reading_and_says_how_old_it_is(empty: Ledger) -> None:
    keep(empty, "local", (AT, {"running": 1}), (AT + 5000, {"running": 7}))
    pulse = read_pulses(empty)["local"]
    assert pulse.figures["running"] == 7
    assert pulse.age_s > 0
