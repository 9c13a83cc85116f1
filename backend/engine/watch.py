"""Watching one engine: a sample whenever asked, from its metrics or from Prometheus, with the GPUs beside."""

from __future__ import annotations

from dataclasses import replace

import orjson

from backend.engine import prometheus
from backend.engine.gpu import read_gpus
from backend.engine.reading import Reading
from backend.engine.scrape import Sample, compare, take_reading
from db.engine import Engine, writing
from db.engine_samples import EngineSample, add_samples, delete_samples_before

DAY_MS = 86_400_000


class Watch:
    """Remembers the last reading of one engine, so that the next sample says what happened in between."""

    def __init__(self, url: str, server: str = "vllm", prometheus_url: str | None = None) -> None:
        self._url = url
        self._server = server
        self._prometheus = prometheus.connect(prometheus_url) if prometheus_url else None
        self._before: Reading | None = None

    def take(self) -> Sample:
        """The engine since the last call (blocking, five seconds at most). Raises ``MetricsUnread``."""
        reading = self._read()
        sample = compare(self._before, reading)
        self._before = reading
        return replace(sample, gpus=tuple(gpu.figures() for gpu in read_gpus().gpus))

    def _read(self) -> Reading:
        if self._prometheus is not None:
            return prometheus.take_reading(self._prometheus, self._url, self._server)
        return take_reading(self._url, self._server)


def keep_sample(engine: Engine, name: str, sample: Sample) -> None:
    """Store a sample of the engine of that name."""
    row = EngineSample(name, sample.at, orjson.dumps(sample.figures()).decode())
    with writing(engine) as connection:
        add_samples(connection, [row])


def forget_samples(engine: Engine, now_ms: int, days: float) -> int:
    """Delete the samples of all engines that are older than so many days; how many there were."""
    with writing(engine) as connection:
        return delete_samples_before(connection, now_ms - int(days * DAY_MS))
