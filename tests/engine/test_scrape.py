"""What an engine's metrics say between two readings, and that nothing is NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine.reading import SGLANG, TGI, VLLM, Reading
from backend.engine.scrape import MetricsUnread, compare, quantile, read_text, take_sample
from tests.engine.metric_texts import SGLANG_TEXT, TGI_TEXT, VLLM_BEFORE, serve_text, vllm_text

INF = float("inf")


def reading(at: int, **counters: float) -> Reading:
    return Reading(at, counters=counters)


def test_a_first_look_shows_the_state_and_no_flow() -> None:
    sample = compare(None, read_text(VLLM_BEFORE, VLLM, 1_000))
    assert (sample.running, sample.waiting, sample.kv_use) == (3, 2, 0.25)
    assert sample.kv_tokens == 512 * 16
    assert sample.span_ms is None
    assert sample.completion_tokens_per_s is None
    assert sample.ttft is None


def test_two_readings_give_rates_shares_and_percentiles() -> None:
    speculation = {"drafts": 40, "drafted": 80, "accepted": 42, "at_0": 30, "at_1": 12}
    after = vllm_text(generated=700, prompts=2_000, hits=300, queries=400, fast=5, slow=5, **speculation)
    sample = compare(read_text(VLLM_BEFORE, VLLM, 1_000), read_text(after, VLLM, 3_000))
    assert sample.span_ms == 2_000
    assert sample.completion_tokens == 600
    assert sample.completion_tokens_per_s == 300.0
    assert sample.prompt_tokens_per_s == 500.0
    assert sample.prefix_hit_rate == 0.75
    assert sample.acceptance == 42 / 80
    assert sample.acceptance_by_position == (0.75, 0.3)
    assert sample.tokens_per_draft == 1 + 42 / 40
    assert sample.ttft is not None
    assert asdict(sample.ttft) == pytest.approx({"calls": 10, "p50_ms": 100.0, "p95_ms": 910.0, "p99_ms": 982.0})
    assert not sample.restarted


def test_without_traffic_everything_that_needs_traffic_is_none() -> None:
    sample = compare(read_text(VLLM_BEFORE, VLLM, 1_000), read_text(VLLM_BEFORE, VLLM, 2_000))
    assert sample.prefix_hit_rate is None
    assert sample.acceptance is None
    assert sample.acceptance_by_position == ()
    assert sample.completion_tokens_per_s is None
    assert (sample.ttft, sample.itl, sample.total) == (None, None, None)
    assert sample.completion_tokens == 0
    assert b"NaN" not in orjson.dumps(sample.figures())


def test_a_counter_that_fell_began_anew_and_counts_from_zero() -> None:
    sample = compare(read_text(vllm_text(generated=5_000), VLLM, 0), read_text(vllm_text(generated=40), VLLM, 1_000))
    assert sample.restarted
    assert sample.completion_tokens == 40


def test_a_process_that_started_later_began_anew_although_its_counters_are_higher() -> None:
    before = Reading(0, counters={"completion_tokens": 10.0}, born=100.0)
    sample = compare(before, Reading(60_000, counters={"completion_tokens": 30.0}, born=130.0))
    assert sample.restarted
    assert sample.completion_tokens == 30


def test_ranks_of_one_engine_are_summed_and_the_fullest_cache_counts() -> None:
    second = (
        VLLM_BEFORE.replace('engine="0"', 'engine="1"').replace("usage_perc{", "usage_perc{").replace(" 0.25", " 0.5")
    )
    lines = [line for line in second.splitlines() if not line.startswith("#")]
    both = read_text("\n".join([VLLM_BEFORE.rstrip(), *lines, ""]), VLLM, 0)
    assert both.gauges["running"] == 6
    assert both.gauges["kv_use"] == 0.5
    assert both.counters["completion_tokens"] == 200


def test_other_servers_are_read_by_their_own_names() -> None:
    sglang = read_text(SGLANG_TEXT, SGLANG, 0)
    assert (sglang.gauges["running"], sglang.gauges["kv_use"]) == (4, 0.125)
    assert sglang.counters["completion_tokens"] == 900
    tgi = read_text(TGI_TEXT, TGI, 0)
    assert (tgi.gauges["running"], tgi.gauges["waiting"]) == (2, 1)
    assert tgi.counters["prompt_tokens"] == 120


def test_metrics_are_fetched_from_beside_the_api() -> None:
    with serve_text(VLLM_BEFORE) as url:
        first, known = take_sample(f"{url}/v1")
        second, _ = take_sample(f"{url}/metrics", known)
    assert first.running == 3
    assert second.completion_tokens == 0


def test_a_server_that_is_not_there_or_says_something_else_is_told_apart() -> None:
    with serve_text("who are you?", status=404) as url, pytest.raises(MetricsUnread, match="answered 404"):
        take_sample(url)
    with serve_text("vllm:num_requests_running{ 1 }") as url, pytest.raises(MetricsUnread, match="make no sense"):
        take_sample(url)
    with pytest.raises(MetricsUnread, match="no metrics at 127"):
        take_sample("http://127.0.0.1:9/v1")
    with pytest.raises(MetricsUnread, match="ollama publishes no metrics"):
        take_sample("http://127.0.0.1:9/v1", server="ollama")


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert quantile({0.1: 0.0, 1.0: 0.0, INF: 5.0}, 0.5) == 1.0
    assert quantile({}, 0.5) is None
    assert quantile({0.1: 0.0, INF: 0.0}, 0.5) is None


@given(st.lists(st.floats(0.001, 50), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_value_it_stands_for(values: list[float], share: float) -> None:
    bounds = [0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0]
    counts: Mapping[float, float] = {bound: sum(value <= bound for value in values) for bound in [*bounds, INF]}
    found = quantile(counts, share)
    true = sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]
    place = next(number for number, bound in enumerate(bounds) if true <= bound)
    assert found is not None
    assert (bounds[place - 1] if place else 0.0) <= found <= bounds[place]


@given(st.dictionaries(st.sampled_from(["completion_tokens", "finished", "drafts", "drafted"]), st.floats(0, 1e9)))
def test_no_sample_ever_holds_nan_or_a_negative_count(counters: dict[str, float]) -> None:
    sample = compare(reading(0, completion_tokens=500.0, finished=3.0), Reading(1_000, counters=counters))
    for value in sample.figures().values():
        assert value is None or not isinstance(value, int | float) or value >= 0


def test_what_a_real_vllm_says_is_understood() -> None:
    recorded = read_text(Path(__file__).with_name("vllm_metrics.txt").read_text(), VLLM, 60_000)
    sample = compare(Reading(0), recorded)
    assert recorded.born is not None
    assert sample.kv_tokens == 524_288
    assert sample.finished == 446
    assert sample.acceptance == 5306 / 7204
    assert sample.acceptance_by_position == tuple(each / 2711 for each in (2354, 1430, 948, 574))
    assert sample.prefix_hit_rate == 0
    for latency in (sample.ttft, sample.itl, sample.total):
        assert latency is not None
        assert 0 < latency.p50_ms <= latency.p95_ms <= latency.p99_ms
