"""The same reading out of a Prometheus that scrapes the engine already, where one is configured."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from backend.engine.reading import VOCABULARIES, Reading, Series, read_series
from backend.engine.scrape import PATIENCE_S, MetricsUnread

_LABEL = re.compile(r'[\\"]')


class Asks(Protocol):
    """The part of ``prometheus_api_client.PrometheusConnect`` that is used."""

    def custom_query(self, query: str) -> list[Mapping[str, Any]]:
        """The instant vector of a query."""
        ...


def connect(url: str) -> Asks:
    """A client of the Prometheus at ``url``; nothing is asked yet."""
    from prometheus_api_client import PrometheusConnect  # noqa: PLC0415 - brings requests; only where it is configured

    found: Asks = PrometheusConnect(url=url, timeout=int(PATIENCE_S))
    return found


def query_for(server: str, engine_url: str) -> str:
    """The query for every metric of one engine, told apart by the address it is scraped at."""
    prefix = {"vllm": "vllm:", "sglang": "sglang:", "tgi": "tgi_"}[server]
    instance = _LABEL.sub(lambda found: "\\" + found[0], urlsplit(engine_url).netloc)
    return f'{{__name__=~"{prefix}.+|process_start_time_seconds", instance="{instance}"}}'


def take_reading(prometheus: Asks, engine_url: str, server: str = "vllm") -> Reading:
    """The newest values that Prometheus has of an engine. Raises ``MetricsUnread``, also when it has none."""
    if server not in VOCABULARIES:
        raise MetricsUnread(f"{server} publishes no metrics that can be read")
    try:
        found = prometheus.custom_query(query_for(server, engine_url))
    except Exception as error:  # noqa: BLE001 - requests raises its own, the client others
        raise MetricsUnread(f"Prometheus does not answer ({type(error).__name__})") from None
    if not found:
        raise MetricsUnread(f"Prometheus knows nothing of {urlsplit(engine_url).netloc}")
    return read_series(_series(found), VOCABULARIES[server], time.time_ns() // 1_000_000)


def _series(found: list[Mapping[str, Any]]) -> Series:
    def walk() -> Iterator[tuple[str, Mapping[str, str], float]]:
        for each in found:
            yield each["metric"]["__name__"], each["metric"], float(each["value"][1])

    return walk()
