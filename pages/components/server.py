"""What the server needs before its first visitor: the door, and a warm start."""

from __future__ import annotations

import gc
import importlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from streamlit.errors import StreamlitSecretNotFoundError

from backend.reports.console import read_access
from pages.components.gate import Access, Gate
from pages.components.session import Signer

WARM = ("pandas", "pyarrow", "plotly.graph_objects", "pages.components.charts", "pages.components.call_drawer")


def door() -> Sequence[Middleware]:
    """The sign-in in front of everything."""
    return [Middleware(Gate, access=access())]


def access() -> Access:
    """How people get in, by this environment."""
    oidc, found = has_oidc(), read_access()
    if found.password is None or oidc:
        return Access(oidc=oidc)
    return Access(found.password, Signer.derive(found.secret, found.password))


def has_oidc() -> bool:
    """Whether ``[auth]`` is configured in Streamlit's secrets."""
    try:
        return "auth" in st.secrets
    except StreamlitSecretNotFoundError:
        return False


@asynccontextmanager
async def warm_up(_app: Any) -> AsyncIterator[dict[str, Any]]:
    """Import what the first page needs, then keep the collector away from it."""
    for name in WARM:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    yield {}
