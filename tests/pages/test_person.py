"""Who is at the console, and whose name changes are signed with."""

from __future__ import annotations

from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import Visit
from tests.sources import ROOT

OIDC = {
    "redirect_uri": "http://localhost:8501/oauth2callback",
    "cookie_secret": "not a secret",
    "client_id": "governor",
    "client_secret": "not a secret",
    "server_metadata_url": "https://id.example/.well-known/openid-configuration",
}


def with_oidc(monkeypatch: pytest.MonkeyPatch, folder: Path, user: dict[str, str | bool]) -> AppTest:
    monkeypatch.setenv("GOVERNOR_DATA_DIR", str(folder))
    st.cache_resource.clear()
    st.cache_data.clear()
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.secrets["auth"] = OIDC
    app.user = user
    return app.run()


def test_without_a_login_a_badge_says_so(visit: Visit) -> None:
    app = visit()
    assert any("No login: this machine only" in each.value for each in app.sidebar.markdown)


def test_openid_connect_shows_nothing_before_the_sign_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = with_oidc(monkeypatch, tmp_path, {"is_logged_in": False})
    assert not app.exception
    assert [button.label for button in app.button] == ["Sign in"]
    assert not app.sidebar.caption
    assert not app.metric


def test_openid_connect_names_the_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = with_oidc(monkeypatch, tmp_path, {"is_logged_in": True, "email": "ana@example.com"})
    assert not app.exception
    assert "ana@example.com" in [each.value for each in app.text]
    assert any(button.label == "Sign out" for button in app.sidebar.button)
