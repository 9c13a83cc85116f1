"""What the caches save and how often they are wrong: tried before it is set, reviewed after it is served."""

from __future__ import annotations

import streamlit as st

from backend.reports.cache import CacheSavings, hit_rates_over_time, read_savings
from backend.settings.store import Version
from pages.components import data
from pages.components import format as fmt
from pages.components.address import choose_section
from pages.components.cache_entries import draw_entries
from pages.components.cache_evidence import draw_evidence, draw_nearness_cards
from pages.components.cache_reviews import draw_reviews
from pages.components.cache_state import draw_state
from pages.components.cache_threshold import draw_threshold
from pages.components.cards import CALLS, card, draw_nothing
from pages.components.charts import Plot, draw_bars
from pages.components.filters import current_view
from pages.components.kpi import draw_kpis
from pages.components.shell import quietly_failing
from pages.components.view import View

PARTS = {
    "hits": "Hits",
    "threshold": "Threshold",
    "evidence": "Evidence",
    "reviews": "Reviews",
    "entries": "Entries",
}


def draw() -> None:
    """The page: the figures, then one part at a time, named by the address."""
    view, version = current_view(), data.settings()
    savings = data.read(read_savings, view.scope())
    if not savings.kpis.totals.calls:
        draw_nothing(view)
        return
    made = None
    with quietly_failing("The state of the semantic cache"):
        made = draw_state(version)
    _draw_figures(savings, version)
    part = choose_section(PARTS, "part")
    if part == "hits":
        _draw_hits(view, savings)
        draw_nearness_cards(view, made)
    elif part == "threshold":
        draw_threshold(view)
    elif part == "evidence":
        with quietly_failing("The evidence"):
            draw_evidence(view, version)
    elif part == "reviews":
        with quietly_failing("The reviews"):
            draw_reviews(view)
    else:
        with quietly_failing("The entries"):
            draw_entries(version)


def _draw_figures(savings: CacheSavings, version: Version) -> None:
    hits, settings = savings.hits_by, version.settings.cache
    draw_kpis(
        savings.kpis,
        [
            ("exact", None if settings.exact_enabled else "off", _explain_hits(savings, "exact")),
            ("semantic", None if settings.semantic_enabled else "off", _explain_hits(savings, "semantic")),
            ("coalesced", None if settings.coalesce else "off", _explain_hits(savings, "coalesced")),
            ("net", None, _explain_money(savings)),
            ("tokens", None, "Prompt and completion tokens of answers that took no upstream call."),
            ("time", None, f"Estimate: {sum(hits.values()):,} hits, each spared the usual wait of a miss."),
        ],
    )


def _explain_hits(savings: CacheSavings, kind: str) -> str:
    return f"{savings.hits_by[kind]:,} of {savings.lookups:,} look-ups."


def _explain_money(savings: CacheSavings) -> str:
    costs = savings.costs
    parts = [f"{kind} {fmt.money(nusd)}" for kind, nusd in savings.saved_by.items() if nusd]
    paid = [
        f"{fmt.money(costs.fresh_nusd)} for {costs.verified:,} would-be hits answered fresh to verify",
        f"{fmt.money(costs.judge_nusd)} for a judge" if costs.judge_nusd else "",
        f"{fmt.money(costs.embedding_nusd)} for embedding" if costs.embedding_nusd else "",
        f"{fmt.money(costs.prefetch_nusd)} for prefetch" if costs.prefetch_nusd else "",
    ]
    return f"{', '.join(parts) or 'Nothing yet'}. Less {', '.join(filter(None, paid))}."


def _draw_hits(view: View, savings: CacheSavings) -> None:
    link = view.narrowed("cache_kind", "exact", "semantic", "coalesced").link()
    with card("Hit rate by kind", link=(CALLS, link)):
        over = data.read(hit_rates_over_time, view.scope())
        if over.groups:
            draw_bars(over, view.scope(), Plot("cache_hits", "Share of look-ups answered by each kind", "share", 280))
        elif savings.lookups:
            st.caption(f"None of {savings.lookups:,} look-ups was a hit in this range.")
        else:
            st.caption("No call of this range asked the cache: it is off, or the calls bypassed it.")


draw()
