"""The only way pages get numbers: reports, cached for a few seconds and shared by all sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Any, Concatenate, ParamSpec, TypeVar

import streamlit as st

from backend.actions import list_keys
from backend.reports.calls import CallQuery
from backend.reports.console import Console, open_console
from backend.reports.filters import FilterValue, Scope
from backend.reports.filters import filter_values as read_filter_values
from backend.reports.ledger import Ledger
from backend.reports.markers import Marker, read_markers
from backend.reports.status import Freshness, read_freshness
from backend.settings.knobs import CacheSettings, EngineSpec
from backend.settings.store import Version, current
from pages.components import format as fmt

P = ParamSpec("P")
R = TypeVar("R")
_SHOWN_UNKNOWN = "(none)"


@st.cache_resource(show_spinner=False)
def console() -> Console:
    """The environment and the ledger of this process."""
    return open_console()


def read(report: Callable[Concatenate[Ledger, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """A report's answer, at most ten seconds old. Raises what the report raises."""
    found: R = _cached(report, f"{report.__module__}.{report.__qualname__}", args, kwargs)
    return found


def _query_key(query: CallQuery) -> tuple[object, ...]:
    return query.scope.cache_key, query.text, query.error_codes, query.min_cost_nusd, query.min_latency_ms


@st.cache_data(
    ttl="10s",
    max_entries=300,
    show_spinner=False,
    hash_funcs={
        Scope: lambda scope: scope.cache_key,
        CallQuery: _query_key,
        CacheSettings: CacheSettings.model_dump_json,
        EngineSpec: EngineSpec.model_dump_json,
    },
)
def _cached(_report: Callable[..., Any], name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:  # noqa: ARG001 - part of the key
    return _report(console().ledger, *args, **kwargs)


@st.cache_data(ttl="2s", max_entries=1, show_spinner=False)
def freshness() -> Freshness:
    """How far the numbers are behind."""
    return read_freshness(console().ledger)


@st.cache_data(ttl="2s", max_entries=1, show_spinner=False)
def settings() -> Version:
    """The settings in force."""
    return current(console().engine)


@st.cache_data(ttl="30s", max_entries=1, show_spinner=False)
def key_names() -> dict[str, str]:
    """The name of every key by its id."""
    return {line.id: line.name for line in list_keys(console().engine)}


def filter_values(scope: Scope, dimension: str) -> tuple[FilterValue, ...]:
    """What a filter can be set to."""
    return read(read_filter_values, scope, dimension)


def markers(scope: Scope) -> tuple[Marker, ...]:
    """The changes within a range, for every time chart."""
    return read(read_markers, scope)


def name_value(dimension: str, value: str) -> str:
    """What people call a value of a dimension."""
    if not value:
        return _SHOWN_UNKNOWN
    return key_names().get(value, value) if dimension == "key_id" else value


def zone() -> tzinfo:
    """The visitor's time zone."""
    return fmt.zone(st.context.timezone)


def forget() -> None:
    """Drop every cached number, after a change."""
    st.cache_data.clear()
