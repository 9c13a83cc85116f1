"""The same reading out of a Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.engine.prometheus import connect, query_for, take_reading
from backend.engine.reading import VLLM
from backend.engine.scrape import MetricsUnread, read_text
from tests.engine.metric_texts import VLLM_BEFORE

ENGINE = "http://127.0.0.1:8100/v1"


class Recorded:
    """A Prometheus that scraped one text of metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[str] = []

    def custom_query(self, query: str) -> list[Mapping[str, Any]]:
        self.asked.append(query)
        return [
            {"metric": {"__name__": sample.name, **sample.labels}, "value": [1.0, str(sample.value)]}
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        ]


def test_prometheus_gives_what_the_engine_itself_gives() -> None:
    prometheus = Recorded(VLLM_BEFORE)
    found = take_reading(prometheus, ENGINE)
    direct = read_text(VLLM_BEFORE, VLLM, found.at)
    assert found == direct
    assert prometheus.asked == ['{__name__=~"vllm:.+|process_start_time_seconds", instance="127.0.0.1:8100"}']


def test_an_engine_that_prometheus_does_not_scrape_is_said_to_be_unknown() -> None:
    with pytest.raises(MetricsUnread, match="knows nothing of 127"):
        take_reading(Recorded(""), ENGINE)


def test_a_prometheus_that_is_not_there_is_told_in_one_line() -> None:
    with pytest.raises(MetricsUnread, match="Prometheus does not answer"):
        take_reading(connect("http://127.0.0.1:9"), ENGINE)


def test_a_quote_in_an_address_cannot_end_the_label() -> None:
    assert query_for("tgi", 'http://a"b/v1').endswith('instance="a\\"b"}')
    assert orjson.dumps(query_for("sglang", ENGINE))


def test_servers_without_metrics_are_refused() -> None:
    with pytest.raises(MetricsUnread, match="ollama publishes no metrics"):
        take_reading(Recorded(VLLM_BEFORE), ENGINE, "ollama")
