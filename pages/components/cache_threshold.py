"""The threshold: tried on recorded traffic before it is set, by hand or by the rate of wrong hits one tolerates."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.reports.cache_evidence import Decision, decide
from backend.reports.cache_traffic import Forecast, Outlook, forecast
from backend.settings.document import dump
from backend.settings.knobs import CacheSettings
from backend.settings.store import Version
from pages.components import data
from pages.components import format as fmt
from pages.components.cache_charts import Marks, draw_hit_rates, draw_wrong_rates, write_threshold
from pages.components.cards import card
from pages.components.charts import Plot
from pages.components.settings_form import Draft, epoch, review, starting_version
from pages.components.view import View

_DRAFT = "_threshold_draft"
_WRONG = "Wrong among hits"


def draw_threshold(view: View) -> None:
    """The slider, what each threshold would have meant, and the ways to put it in force."""
    with card("Threshold", hint="Tried on the look-ups recorded in this range and judged by all labels there are."):
        version = starting_version("cache")
        settings = version.settings.cache
        extra = (settings.manual_threshold,)
        found = data.read(forecast, view.scope(), extra)
        if not found.compared:
            _draw_nothing(settings)
            return
        made = data.read(decide, settings) if settings.semantic_enabled else None
        in_force = made.threshold if made else None
        chosen = _choose(found, in_force or settings.manual_threshold)
        _draw_figures(found, chosen, in_force)
        _draw_curves(found, Marks(chosen.threshold, in_force, settings.max_false_hit_rate))
        _draw_ways(version, chosen, made)
        st.caption(_explain(found, settings))


def _draw_nothing(settings: CacheSettings) -> None:
    st.markdown("**No look-up of this range had an answered question near it.**")
    if settings.semantic_enabled:
        st.caption("Choose a longer range, or wait until questions repeat in other words.")
    else:
        st.caption("The semantic cache is off. Switched on, it observes: thresholds can then be tried here.")


def _choose(found: Forecast, start: float) -> Outlook:
    options = [each.threshold for each in found.outlooks]
    threshold = st.select_slider(
        "Serve from this probability on",
        options,
        value=found.at(start).threshold,
        format_func=write_threshold,
        key=f"threshold_{epoch()}",
        help="The verifier's probability that both questions deserve the same answer. Steps are even in log odds.",
    )
    return found.at(float(threshold))


def _draw_figures(found: Forecast, chosen: Outlook, in_force: float | None) -> None:
    now = found.at(in_force) if in_force is not None else None
    figures, before = _write(chosen), _write(now) if now and now != chosen else {}
    interval = f"{fmt.share(chosen.low)} to {fmt.share(chosen.high)}" if chosen.labels else "no labels"
    hints = (
        f"{chosen.hits:,} of {found.lookups:,} look-ups.",
        f"95% interval, {chosen.labels:,} labels at or above.",
        "What these calls cost upstream. Calls without a price are not in it.",
        "What these calls took upstream; for hits already served, what a miss usually takes.",
    )
    options: dict[str, Any] = {"delta_color": "off", "delta_arrow": "off", "border": True, "height": "stretch"}
    with st.grid(4, min_column_width=190, gap="small"):
        for (title, value), hint in zip(figures.items(), hints, strict=True):
            note = f"now {before[title]}" if before else None
            st.metric(title, value, interval if title == _WRONG else note, help=hint, **options)


def _write(outlook: Outlook) -> dict[str, str]:
    return {
        "Predicted hit rate": fmt.share(outlook.hit_rate),
        _WRONG: fmt.share(outlook.false_hit_rate),
        "Money saved": fmt.money(outlook.saved_nusd),
        "Waiting saved": fmt.duration(outlook.saved_ms),
    }


def _draw_curves(found: Forecast, marks: Marks) -> None:
    left, right = st.columns(2)
    with left:
        st.caption("Hit rate by threshold")
        draw_hit_rates(
            found.outlooks, marks, Plot("threshold_hits", "Predicted hit rate by threshold", "share", 220, legend=False)
        )
    with right:
        st.caption("Wrong among hits by threshold, with its 95% interval")
        plot = Plot("threshold_wrong", "Predicted rate of wrong hits by threshold", "share", 220, legend=False)
        draw_wrong_rates(found.outlooks, marks, plot)


def _draw_ways(version: Version, chosen: Outlook, made: Decision | None) -> None:
    """By hand at the slider's threshold, or calibrated to a tolerance; both go through the review."""
    settings = version.settings.cache
    by_hand, calibrated = st.columns(2)
    with by_hand, st.container(border=True, height="stretch"):
        st.markdown(f"**By hand** :gray[{_say_manual(settings)}]")
        st.caption("Served from the slider's threshold on, whatever the evidence says.")
        same = settings.threshold_mode == "manual" and settings.manual_threshold == chosen.threshold
        label = f"Set {write_threshold(chosen.threshold)} by hand"
        st.button(
            label,
            key="threshold_manual",
            disabled=same,
            on_click=_keep,
            args=({"threshold_mode": "manual", "manual_threshold": chosen.threshold},),
        )
    with calibrated, st.container(border=True, height="stretch"):
        st.markdown(f"**Calibrated** :gray[{_say_calibrated(settings)}]")
        _draw_calibrated(settings, made)
    values = st.session_state.pop(_DRAFT, None)
    if values:
        document = dump(version.settings)
        review(Draft({**document, "cache": {**document["cache"], **values}}, version))


def _draw_calibrated(settings: CacheSettings, made: Decision | None) -> None:
    percent = st.number_input(
        "Highest share of wrong hits, %",
        min_value=0.1,
        max_value=50.0,
        value=100 * settings.max_false_hit_rate,
        step=0.5,
        format="%g",
        key=f"tolerated_{epoch()}",
        width=220,
    )
    rate = round(percent / 100, 6)
    wanted = {"threshold_mode": "calibrated", "max_false_hit_rate": rate}
    if settings.semantic_enabled:
        preview = data.read(decide, settings.model_copy(update=wanted))
        st.caption(fmt.plain(f"{preview.state}: {preview.reason}"))
    unchanged = settings.threshold_mode == "calibrated" and rate == settings.max_false_hit_rate
    label = "Back to calibrated" if made and made.scope == "manual" else "Calibrate to this"
    st.button(label, key="threshold_calibrated", disabled=unchanged, on_click=_keep, args=(wanted,))


def _keep(values: dict[str, Any]) -> None:
    st.session_state[_DRAFT] = values


def _say_manual(settings: CacheSettings) -> str:
    return f"in force at {write_threshold(settings.manual_threshold)}" if settings.threshold_mode == "manual" else ""


def _say_calibrated(settings: CacheSettings) -> str:
    return "in force" if settings.threshold_mode == "calibrated" else ""


def _explain(found: Forecast, settings: CacheSettings) -> str:
    part = "all look-ups" if found.whole else f"the newest {found.compared:,} compared look-ups"
    since = "" if found.whole else f" since {fmt.clock(found.since_at, data.zone())}"
    lookups = f"{found.lookups:,} in all, {found.compared:,} with an answered question near, {found.labels:,} labels."
    verified = f"Of the hits served {fmt.share(settings.verify_share)} are answered fresh to verify."
    return fmt.plain(f"Over {part} of the range{since}: {lookups} {verified}")
