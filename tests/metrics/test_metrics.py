"""Prometheus metrics: every call counted once, workers summed, labels bounded."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from backend.call import Entry
from backend.metrics import metrics as module
from backend.metrics.metrics import Metrics
from tests.gateway.at_work import until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def entry(**fields: Any) -> Entry:
    made = Entry("w", "chat.completions")
    known: dict[str, Any] = {
        "model": "m",
        "deployment": "d",
        "provider": "openai",
        "status": "ok",
        "cache_kind": "miss",
    }
    known |= {"prompt_tokens": 10, "completion_tokens": 5, "cost_nusd": 1_500_000_000, "latency_ms": 250.0}
    for name, value in (known | {"overhead_ms": 1.5, "ttft_ms": 80.0} | fields).items():
        setattr(made, name, value)
    return made


def worker(folder: Path, name: str = "one") -> Metrics:
    return Metrics(folder, name, lambda: None)


def read(metrics: Metrics) -> Samples:
    """Every sample that Prometheus itself would read."""
    body, kind = metrics.expose()
    assert kind.startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


async def test_a_call_is_counted_under_every_name(tmp_path: Path) -> None:
    metrics = worker(tmp_path)
    for _ in range(3):
        metrics.observe(entry())
    samples = read(metrics)
    assert value(samples, "llm_api_calls_total", model="m", deployment="d", status="ok") == 3
    assert value(samples, "llm_api_costs_dollars_total", model="m") == pytest.approx(4.5)
    assert value(samples, "llm_api_tokens_total", model="m", type="prompt") == 30
    assert value(samples, "llm_api_tokens_total", model="m", type="completion") == 15
    assert value(samples, "llm_cache_misses_total") == 3
    assert value(samples, "llm_api_latency_seconds_count", model="m") == 3
    assert value(samples, "llm_api_latency_seconds_sum", model="m") == pytest.approx(0.75)
    assert value(samples, "llm_api_latency_seconds_bucket", model="m", le="0.25") == 3
    assert value(samples, "llm_api_latency_seconds_bucket", model="m", le="0.1") == 0
    assert value(samples, "llm_api_latency_seconds_bucket", model="m", le="+Inf") == 3
    assert value(samples, "llm_api_ttft_seconds_sum", model="m") == pytest.approx(0.24)


async def test_calls_are_counted_and_logged_together_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    monkeypatch.setattr(module, "log_calls", lambda entries: batches.append(len(entries)))
    metrics = worker(tmp_path)
    for _ in range(module._TOGETHER + 3):
        metrics.observe(entry())
    assert batches == [module._TOGETHER]
    await until(lambda: len(batches) == 2)
    assert batches == [module._TOGETHER, 3]


async def test_what_was_closed_last_is_logged_before_the_worker_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    monkeypatch.setattr(module, "log_calls", lambda entries: batches.append(len(entries)))
    metrics = worker(tmp_path)
    metrics.observe(entry())
    metrics.withdraw()
    assert batches == [1]


async def test_a_cost_nobody_knows_is_unpriced_and_not_nothing(tmp_path: Path) -> None:
    metrics = worker(tmp_path)
    metrics.observe(entry(cost_nusd=None))
    metrics.observe(entry(cost_nusd=0))
    samples = read(metrics)
    assert value(samples, "llm_api_unpriced_calls_total", model="m") == 1
    assert value(samples, "llm_api_costs_dollars_total", model="m") == 0


async def test_hits_are_told_by_their_kind(tmp_path: Path) -> None:
    metrics = worker(tmp_path)
    for kind, count in (("exact", 2), ("coalesced", 1), ("miss", 3), ("bypass", 4), (None, 1)):
        for _ in range(count):
            metrics.observe(entry(cache_kind=kind, saved_nusd=10**9 if kind == "exact" else None))
    samples = read(metrics)
    assert value(samples, "llm_cache_hits_total", kind="exact") == 2
    assert value(samples, "llm_cache_hits_total", kind="coalesced") == 1
    assert value(samples, "llm_cache_misses_total") == 3
    assert value(samples, "llm_api_saved_dollars_total", model="m") == pytest.approx(2)


async def test_what_never_came_to_a_model_is_counted_too(tmp_path: Path) -> None:
    metrics = worker(tmp_path)
    nothing = dict.fromkeys(("model", "deployment", "provider", "cache_kind", "prompt_tokens", "completion_tokens"))
    metrics.observe(entry(**nothing, status="refused", cost_nusd=0, ttft_ms=None, latency_ms=None, overhead_ms=None))
    samples = read(metrics)
    assert value(samples, "llm_api_calls_total", model="none", deployment="none", status="refused") == 1
    assert not [name for name, labels in samples if "tokens_total" in name and samples[name, labels]]


@examples(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.integers(0, 10**9), st.floats(0, 10**5)), max_size=30
    )
)
async def test_workers_are_summed(calls: list[tuple[int, str, int, float]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        workers = [worker(Path(folder), name) for name in ("one", "two", "three")]
        alone = worker(Path(folder) / "..", "alone")
        for number, model, cost, latency_ms in calls:
            for metrics in (workers[number], alone):
                metrics.observe(entry(model=model, cost_nusd=cost, latency_ms=latency_ms))
        for metrics in workers:
            metrics.publish()
        alone._others = lambda: iter(())  # type: ignore[method-assign]
        expected = read(alone)
        for metrics in workers:
            assert read(metrics) == pytest.approx(expected)


async def test_a_worker_that_is_gone_counts_no_longer(tmp_path: Path) -> None:
    one, two = worker(tmp_path, "one"), worker(tmp_path, "two")
    two.observe(entry())
    two.publish()
    assert value(read(one), "llm_cache_misses_total") == 1
    two.withdraw()
    assert value(read(one), "llm_cache_misses_total") == 0
    two.withdraw()


async def test_a_file_nobody_writes_any_more_is_taken_away(tmp_path: Path) -> None:
    one, two = worker(tmp_path, "one"), worker(tmp_path, "two")
    two.observe(entry())
    two.publish()
    long_ago = time.time() - 3600
    os.utime(tmp_path / "two.metrics", (long_ago, long_ago))
    assert value(read(one), "llm_cache_misses_total") == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b"{}",
        b'{"families":[]}',
        b'{"families":{"llm_api_calls":5},"open_calls":0}',
        b'{"families":{"llm_api_calls":[[["m"]]]},"open_calls":0}',
        b'{"families":{"llm_api_latency_seconds":[[["m"],[1],1.0]]},"open_calls":0}',
        b'{"layout":[],"families":{},"open_calls":0}',
        b"\xff\xfe",
    ],
)
async def test_a_file_that_makes_no_sense_is_passed_over(tmp_path: Path, content: bytes) -> None:
    one = worker(tmp_path, "one")
    one.observe(entry())
    (tmp_path / "two.metrics").write_bytes(content)
    samples = read(one)
    assert value(samples, "llm_api_calls_total", model="m", deployment="d", status="ok") == 1
    assert value(samples, "llm_api_latency_seconds_count", model="m") == 1


async def test_names_that_callers_make_up_do_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_LABELS", 10)
    metrics = worker(tmp_path)
    for number in range(100):
        metrics.observe(entry(model=f"model-{number}"))
    samples = read(metrics)
    counted = {labels: v for (name, labels), v in samples.items() if name == "llm_api_calls_total"}
    assert sum(counted.values()) == 100
    assert len(counted) == 11
    assert value(samples, "llm_api_calls_total", model="other", deployment="other", status="ok") == 90
    assert value(samples, "llm_api_latency_seconds_count", model="other") == 90


async def test_names_with_quotes_and_line_breaks_do_not_break_the_format(tmp_path: Path) -> None:
    metrics = worker(tmp_path)
    for model in ('a"b', "a\\b", "a\nb", "é{}=,"):
        metrics.observe(entry(model=model))
        assert value(read(metrics), "llm_api_calls_total", model=model, deployment="d", status="ok") == 1


async def test_the_drainers_word_is_shown_once_there_is_one(tmp_path: Path) -> None:
    said: list[Any] = [None]
    metrics = Metrics(tmp_path, "one", lambda: said[0])
    metrics.open_calls = lambda: 7
    samples = read(metrics)
    assert value(samples, "governor_open_calls") == 7
    assert ("governor_spool_bytes", ()) not in samples
    said[0] = SimpleNamespace(spool_bytes=5, lag_s=0.5, quarantined=2)
    samples = read(metrics)
    found = [value(samples, f"governor_{name}") for name in ("spool_bytes", "drain_lag_seconds", "quarantined_records")]
    assert found == [5, 0.5, 2]


async def test_no_label_names_a_person(tmp_path: Path) -> None:
    metrics = worker(tmp_path)
    metrics.observe(entry(user="alice@example.com", key_id="key-1", tags={"team": "red"}, session_id="s-1"))
    body, _ = metrics.expose()
    assert not [word for word in (b"alice", b"key-1", b"red", b"s-1") if word in body]


async def test_what_is_published_is_plain_json(tmp_path: Path) -> None:
    metrics = worker(tmp_path)
    metrics.observe(entry())
    metrics.publish()
    document = orjson.loads((tmp_path / "one.metrics").read_bytes())
    assert document["open_calls"] == 0
    assert document["families"]["llm_api_calls"] == [[["m", "d", "ok"], 1.0]]
