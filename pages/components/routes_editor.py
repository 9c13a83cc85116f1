"""Model routes as a table: a model, its weighted deployments, its fallbacks."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st


def draw_routes(routes: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """The table, with rows to add and remove; what it says, in the form of the stored document."""
    rows = [(route["model"], write_weights(route["deployments"]), ", ".join(route["fallbacks"])) for route in routes]
    frame = pd.DataFrame(rows, columns=["model", "deployments", "fallbacks"], dtype="string")
    edited = st.data_editor(
        frame,
        key=key,
        num_rows="dynamic",
        hide_index=True,
        alt="Model routes",
        column_config={
            "model": st.column_config.TextColumn("Model", required=True),
            "deployments": st.column_config.TextColumn("Deployments", help="name, or name=weight, separated by commas"),
            "fallbacks": st.column_config.TextColumn("Fallbacks", help="names in order, separated by commas"),
        },
    )
    return [_route(row) for row in edited.fillna("").to_dict("records") if str(row["model"]).strip()]


def _route(row: dict[Any, Any]) -> dict[str, Any]:
    return {
        "model": str(row["model"]).strip(),
        "deployments": [_weighted(part) for part in _parts(row["deployments"])],
        "fallbacks": _parts(row["fallbacks"]),
    }


def write_weights(deployments: list[dict[str, Any]]) -> str:
    """Weighted deployments as text: ``a=3, b=1``."""
    return ", ".join(f"{each['name']}={each['weight']}" for each in deployments)


def _weighted(text: str) -> dict[str, Any]:
    name, _, weight = text.partition("=")
    return {"name": name.strip(), "weight": weight.strip() or 1}


def _parts(text: object) -> list[str]:
    return [part.strip() for part in str(text).split(",") if part.strip()]
