"""Feels an engine's pulse: checks when they are due, readings when they are due, what they add up to."""

from __future__ import annotations

import time

from backend.engine.decide import Pulse
from backend.engine.health import NoToken, Place, WedgeDetector, generate_token, made_progress
from backend.engine.reading import Reading
from backend.engine.scrape import MetricsUnread, take_reading
from backend.engine.watch import Watch, keep_sample
from backend.settings.knobs import EngineSettings
from db.engine import Engine
from db.failures import DatabaseAway, RowsRefused, judged

_READ_WITHIN_S = 2.0


class Feeler:
    """The checks of one engine; every one bounded in time."""

    def __init__(self, engine: Engine, name: str, place: Place, server: str) -> None:
        self._engine = engine
        self._name = name
        self._place = place
        self._server = server
        self._watch: Watch | None = None
        self._detector = WedgeDetector(0.0)
        self._pulse = Pulse()
        self._check_at = 0.0
        self._sample_at = 0.0

    def feel(self, knobs: EngineSettings, every_s: float) -> Pulse:
        """What the latest checks found; makes those that are due."""
        if time.monotonic() >= self._check_at:
            self._pulse = self._check(knobs)
            self._check_at = time.monotonic() + every_s
        if self._pulse.token and time.monotonic() >= self._sample_at:
            self._sample_at = time.monotonic() + knobs.scrape_period_s
            self._keep_sample(knobs)
        return self._pulse

    def _check(self, knobs: EngineSettings) -> Pulse:
        before = self._read()
        try:
            generate_token(self._place, knobs.health_deadline_s)
        except NoToken as error:
            after = self._read() if before else None
            wedged = self._is_wedged(after or before, knobs)
            if made_progress(before, after):
                return Pulse(token=True)
            return Pulse(failures=self._pulse.failures + 1, wedged=wedged, complaint=str(error))
        self._is_wedged(before, knobs)
        return Pulse(token=True)

    def _is_wedged(self, reading: Reading | None, knobs: EngineSettings) -> bool:
        self._detector.wedge_s = knobs.wedge_s
        return self._detector.notice(reading, time.monotonic())

    def _read(self) -> Reading | None:
        try:
            return take_reading(self._place.url, self._server, _READ_WITHIN_S)
        except MetricsUnread:
            return None

    def _keep_sample(self, knobs: EngineSettings) -> None:
        try:
            if self._watch is None:
                self._watch = Watch(self._place.url, self._server, knobs.prometheus_url)
            sample = self._watch.take()
            with judged():
                keep_sample(self._engine, self._name, sample)
        except (MetricsUnread, DatabaseAway, RowsRefused):
            return
